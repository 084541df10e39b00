"""`ipam.d/*.yaml`: address managers."""

from __future__ import annotations

from typing import Annotated, Literal

from daemon.settings.base import About, SettingsModel
from daemon.settings.remote import RemoteSettings
from daemon.settings.types import Name, Word


class IpamSettings(SettingsModel):
    """What every address manager has, of whatever type."""

    name: Annotated[Name, About("its name, used by modules as `ipam`")]
    type: Annotated[Name, About("which kind of address manager")]


class IpmanagerSettings(RemoteSettings, IpamSettings):
    """An IPmanager 5."""

    type: Annotated[Literal["ipmanager"], About("which kind of address manager")] = "ipmanager"
    list_function: Annotated[Word, About("function that lists the addresses our account holds")] = "ip"
    take_function: Annotated[
        Word, About("function that takes an address when called without an element", unverified=True)
    ] = "ip.edit"
    give_back_function: Annotated[Word, About("function that gives an address back", unverified=True)] = "ip.delete"
    address_field: Annotated[Word, About("field of the address, in lists and answers")] = "ip"
    family_field: Annotated[Word, About("field of the address family")] = "family"
    type_field: Annotated[Word, About("field of the address type (group)", unverified=True)] = "iptype"
    hostname_field: Annotated[Word, About("field of the host name", unverified=True)] = "domain"
    key_field: Annotated[
        Word, About("field that carries our key, by which a lost answer is found again", unverified=True)
    ] = "note"


IPAM_TYPES: dict[str, type[IpamSettings]] = {"ipmanager": IpmanagerSettings}
