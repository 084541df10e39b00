"""A running sandbox with plain aiohttp clients for its panels."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from daemon.domain.clock import VirtualClock
from daemon.sandbox import Sandbox, SandboxSettings

DEBIAN = "ISPsystem__Debian-12-x86_64"
TYPE = "E3-1230-16G"


@dataclass
class PanelClient:
    http: aiohttp.ClientSession
    url: str
    login: str = "provisiond:sandbox-pass"

    async def text(self, func: str, **params: str) -> str:
        async with self.http.post(self.url, data={"func": func, "authinfo": self.login, **params}) as answer:
            assert answer.status == 200, answer.status
            return await answer.text()

    async def xml(self, func: str, **params: str) -> ET.Element:
        return ET.fromstring(await self.text(func, **params))

    async def json(self, func: str, out: str = "json", **params: str) -> Any:
        async with self.http.get(
            self.url, params={"func": func, "authinfo": self.login, "out": out, **params}
        ) as answer:
            assert answer.status == 200, answer.status
            return await answer.json()

    async def ok(self, func: str, **params: str) -> ET.Element:
        doc = await self.xml(func, **params)
        assert doc.find("error") is None, ET.tostring(doc)
        return doc

    async def error(self, func: str, **params: str) -> tuple[str, str]:
        found = (await self.xml(func, **params)).find("error")
        assert found is not None
        return found.attrib["type"], found.attrib["object"]

    async def rows(self, func: str, **params: str) -> list[ET.Element]:
        return (await self.ok(func, **params)).findall("elem")

    async def server(self, elid: str) -> ET.Element:
        return next(row for row in await self.rows("server") if row.findtext("id") == elid)


@dataclass
class Lab:
    sandbox: Sandbox
    clock: VirtualClock
    http: aiohttp.ClientSession
    dci: PanelClient
    ipm: PanelClient

    async def door(self, name: str, **body: Any) -> Any:
        async with self.http.post(f"{self.sandbox.doors_url}/{name}", json=body) as answer:
            return await answer.json()

    async def state(self) -> Any:
        async with self.http.get(f"{self.sandbox.doors_url}/state") as answer:
            return await answer.json()


@asynccontextmanager
async def lab(**settings: Any) -> AsyncIterator[Lab]:
    clock = VirtualClock()
    async with (
        Sandbox.start(SandboxSettings(now=clock.now, **settings)) as sandbox,
        aiohttp.ClientSession() as http,
    ):
        yield Lab(sandbox, clock, http, PanelClient(http, sandbox.dci_url), PanelClient(http, sandbox.ipm_url))
