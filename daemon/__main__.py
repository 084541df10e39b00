"""`provisiond` and `python -m daemon`."""

from __future__ import annotations

from daemon.cli.main import cli


def main() -> None:
    cli(prog_name="provisiond")


if __name__ == "__main__":
    main()
