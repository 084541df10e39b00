"""Tasks: what a person must do before an operation can go on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from daemon.api.endpoint import EVERY_ROLE, OPERATING, Call, NoBody, NoQuery, Reply, endpoint
from daemon.api.keys import once
from daemon.api.paging import PageQuery, cut
from daemon.api.shapes import Page, TaskShape
from daemon.domain.errors import Refused
from daemon.domain.task import Task, TaskStatus
from daemon.provisioning.desk import Also
from daemon.provisioning.requests import TaskResult

TAG = "tasks"


class TasksQuery(PageQuery):
    status: Annotated[TaskStatus | None, Field(description="only tasks with this status")] = None


class TaskPage(Page[TaskShape]):
    pass


@endpoint("GET", "/v1/tasks", tag=TAG, roles=EVERY_ROLE, answer=TaskPage, query=TasksQuery)
async def list_tasks(call: Call[TasksQuery, NoBody]) -> Reply:
    """All tasks, newest first."""
    query = call.query
    found = await call.faces.store.read.tasks.page(status=query.status, after=query.after_id(), limit=query.limit + 1)
    page, following = cut(found, query.limit, lambda task: task.id)
    return Reply(TaskPage(items=[TaskShape.of(task) for task in page], next=following))


@endpoint("GET", "/v1/tasks/{id}", tag=TAG, roles=EVERY_ROLE, answer=TaskShape)
async def get_task(call: Call[NoQuery, NoBody]) -> Reply:
    """One task."""
    task = await call.faces.store.read.tasks.get(call.id)
    if task is None:
        raise Refused("no_task", f"there is no task {call.id}", status=404)
    return Reply(TaskShape.of(task))


@endpoint(
    "POST",
    "/v1/tasks/{id}/close",
    tag=TAG,
    roles=OPERATING,
    answer=TaskShape,
    body=TaskResult,
    key="optional",
    refusals={409: "it isn't open any more, or its operation can't go on with this"},
)
async def close_task(call: Call[NoQuery, TaskResult]) -> Reply:
    """Say that a task is done, with what came out; its operation goes on."""

    async def work(also: Also) -> Task:
        return await call.faces.desk.close_task(
            call.id, actor=call.caller.actor, result=call.body.fields, note=call.body.said, also=also
        )

    return await once(call, "POST /v1/tasks/{id}/close", work, TaskShape.of, 200)


ENDPOINTS = (list_tasks, get_task, close_task)
