"""Whose readings the rows of a report are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from daemon.domain.resources import Kind
from daemon.modules.base import Measurement
from daemon.stats.terms import Terms


class Owners:
    """The services of one module at one moment, and the servers they have."""

    def __init__(self, servers: Mapping[int, str], terms: Mapping[int, Terms]) -> None:
        """`servers`: service -> the platform's id of its server."""
        self.servers = servers
        self._terms = terms
        self._of: dict[str, tuple[list[int], list[str]]] = {}
        self._named: defaultdict[str, set[str]] = defaultdict(set)
        """Host name -> servers of that name: two customers may choose the same."""
        for service_id, remote_id in servers.items():
            self._named[terms[service_id].service.hostname].add(remote_id)

    def of(self, metric: str) -> tuple[list[int], list[str]]:
        """Services whose plan counts the metric, and the server of each."""
        if metric not in self._of:
            terms = self._terms
            own = [one for one in self.servers if metric in terms[one].meters]
            self._of[metric] = own, [self.servers[one] for one in own]
        return self._of[metric]

    def kind(self, metric: str) -> Kind | None:
        """The same for all of them; None: nobody's plan counts the metric."""
        services, _ = self.of(metric)
        return self._terms[services[0]].meters[metric].kind if services else None

    def strangers(self, each: Measurement) -> dict[str, str]:
        """Server -> the name in its row, where that is the name of another server of ours: whose reading it is can't be told."""
        ours, named = set(self.servers.values()), self._named
        return {
            remote_id: name
            for remote_id, name in each.hostnames.items()
            if name in named and remote_id not in named[name] and remote_id in ours
        }

    def told(self, strangers: Mapping[str, str]) -> list[str]:
        """The same for people."""
        return [
            f"server {remote_id}: its row is named {name}, as server {min(self._named[name])} is"
            for remote_id, name in strangers.items()
        ]
