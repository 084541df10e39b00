"""What is wrong with the settings, and where."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.domain.errors import ConfigError


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One finding. Line and column count from 1; 0 where a finding has no place in the file."""

    file: str
    line: int
    column: int
    field: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


class SettingsError(ConfigError):
    """All problems of a configuration at once."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        lines = [str(problem) for problem in self.problems]
        super().__init__("settings", "\n".join(lines), problems=lines)
