"""The usage records of the month against what the sandbox's servers really sent and drew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from rich import box
from rich.console import Console
from rich.table import Table

from daemon.cli.demo.account import Watched, within
from daemon.cli.demo.cast import CLEO, DANA, MONTH_END, RESOURCES, Customer
from daemon.cli.demo.outcome import DemoError, require
from daemon.cli.demo.passing import RHYTHM, Passing
from daemon.domain.metering import UsageRecord, coverage
from daemon.domain.service import Service
from daemon.sandbox import Sandbox
from daemon.stats.records import Proof


class Comparison:
    def __init__(self, sandbox: Sandbox, passing: Passing, customers: Mapping[int, Customer], console: Console) -> None:
        """`customers`: by the id of the service."""
        self._sandbox = sandbox
        self._passing = passing
        self._house = passing.house
        self._customers = customers
        self._console = console

    async def records(self) -> list[UsageRecord]:
        read = self._house.store.read.usage_records
        found = [r for n in self._customers for r in await read.page(service_id=n, after=0, limit=100, newest=True)]
        require(bool(found), "no period was closed")
        return sorted(found, key=lambda r: (r.service_id, r.since, RESOURCES.index(r.resource)))

    async def nothing_missing(self, records: list[UsageRecord]) -> None:
        """Every resource of every service, from the start of billing to its end, without a hole."""
        for number, customer in self._customers.items():
            service = await self._passing.service(number)
            for code in RESOURCES:
                if code == "burst_out_day" and customer is CLEO:
                    continue  # the larger of the two directions stands under burst_in_day
                own = [r for r in records if (r.service_id, r.resource) == (number, code)]
                edges = [service.billing_from, *(r.until for r in own)]
                whole = edges[:-1] == [r.since for r in own] and len(own) == (1 if customer is DANA else 2)
                ended = service.billing_until or MONTH_END[customer.plan]
                require(whole and edges[-1] == ended, f"{customer.name}'s records of {code} are not whole")

    def miscount(self) -> None:
        """Change the sandbox's count by one byte: the comparison must find it."""
        ledger = self._sandbox.dci.ledger[next(iter(self._sandbox.dci.ledger))]
        place = len(ledger) // 2
        ledger[place] = replace(ledger[place], rx=ledger[place].rx + 1)

    async def compare(self, records: list[UsageRecord]) -> None:
        table, differences, rest = _table(), [], 0
        for record in records:
            service = await self._passing.service(record.service_id)
            name, sent = self._customers[service.id].name, self._expected(service, record)
            same = sent == record.base_quantity
            if not same:
                differences.append(
                    f"{name}'s {record.resource} from {record.since:%d %b %H:%M} UTC: the usage record says "
                    f"{record.base_quantity} {record.base_unit}, the sandbox counted {sent} {record.base_unit}"
                )
            if record.until - record.since < timedelta(days=1):
                rest += 1
                continue
            label = "burst (larger)" if self._is_larger(record) else record.resource
            known = f"{coverage(record.covered, record.since, record.until)} %"
            mark = "[green]equal[/]" if same else "[red]differs[/]"
            first = record.resource == RESOURCES[0]
            table.add_row(
                name if first else "", label, str(sent), str(record.base_quantity), record.base_unit, known, mark
            )
        self._console.print(table)
        if differences:
            raise DemoError("; ".join(differences))
        self._console.print(f"So are the {rest} records of the last hours of February.")

    def _is_larger(self, record: UsageRecord) -> bool:
        return record.resource.startswith("burst") and self._customers[record.service_id].plan == "ds-large"

    def _expected(self, service: Service, record: UsageRecord) -> int | None:
        """What the ledger says of the record's period. The count of a service begins with the reading of its activation."""
        begun = datetime.fromisoformat(service.properties["baseline"]["at"])
        assert service.billing_from is not None
        rounds = within(self._passing.rounds, service.billing_from, service.billing_until)
        ended = [service.billing_until] if service.billing_until else []
        watched = Watched(
            ledger=self._sandbox.dci.ledger[str(service.remote_id)],
            traffic=[begun, *rounds, *ended],
            power=rounds,
            rhythm=RHYTHM,
            panel_zone=ZoneInfo("UTC"),
        )
        since = begun if record.since == service.billing_from else record.since
        return watched.expected(record.resource, since, record.until, larger=self._is_larger(record))

    async def verify(self, records: list[UsageRecord]) -> None:
        for verdict in await self._house.statistics.records.verify(records):
            require(
                verdict.proof is Proof.INTACT,
                f"usage record {verdict.record.id} is {verdict.proof}: {'; '.join(verdict.differences)}",
            )
        self._console.print(
            f"Recomputed from their samples, all {len(records)} records come out the same, bit for bit."
        )


def _table() -> Table:
    table = Table(
        title="\nMarch, as the sandbox sent it and as the records say",
        box=box.SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    for name in ("", "resource", "sandbox", "usage record", "unit", "known", ""):
        table.add_column(
            name, justify="right" if name in ("sandbox", "usage record", "known") else "left", no_wrap=True
        )
    return table
