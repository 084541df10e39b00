"""Functions `user` and `user.edit`, the same on both panels (docs/reference/contracts.md#users)."""

from __future__ import annotations

from daemon.sandbox.answers import Document, PanelError, done, listing, select
from daemon.sandbox.panel import Call, Function, Panel
from daemon.sandbox.sessions import ADMIN_LEVEL, USER_LEVEL, Account

LEVELS = {"": USER_LEVEL, "lvUser": USER_LEVEL, "16": USER_LEVEL, "lvAdmin": ADMIN_LEVEL, "29": ADMIN_LEVEL}


class UserFunctions:
    def __init__(self, panel: Panel) -> None:
        self.accounts = panel.accounts

    def table(self) -> dict[str, Function]:
        return {
            "user": Function(self.list),
            "user.edit": Function(self.edit, "sok"),
            "user.delete": Function(self.delete, "always"),
        }

    def list(self, call: Call) -> Document:
        del call
        return listing(
            [{"id": u.id, "name": u.name, "level": str(u.level), "enabled": ""} for u in self.accounts.by_id.values()]
        )

    def edit(self, call: Call) -> Document:
        if not call.get("elid"):
            return self._create(call) if call.saving else self._form("", "", USER_LEVEL)
        user = self._existing(call.get("elid"))
        if not call.saving:
            return self._form(user.id, user.name, user.level)
        if call.get("passwd"):
            user.password = _password(call)
        return done()

    def _form(self, elid: str, name: str, level: int) -> Document:
        form: Document = {"elid": elid, "name": name, "level": str(level), "passwd": "", "confirm": ""}
        return form | {"slist": [select("level", [("16", "User"), ("29", "Administrator")])]}

    def _create(self, call: Call) -> Document:
        name = call.get("name")
        if not name or not name.isprintable() or ":" in name:
            raise PanelError("value", "name", name, "A user name has printable characters and no colon")
        if call.get("level") not in LEVELS:
            raise PanelError("value", "level", call.get("level"), "There is no such level")
        return done(id=self.accounts.add(name, _password(call), LEVELS[call.get("level")]).id)

    def _existing(self, elid: str) -> Account:
        user = self.accounts.by_id.get(elid)
        if user is None:
            raise PanelError("missed", "elid", elid, "The user was not found")
        return user

    def delete(self, call: Call) -> Document:
        users = [self._existing(elid) for elid in call.elids]
        for user in users:
            if user.id == call.user.id:
                raise PanelError("access", "elid", user.id, "You can't delete yourself")
            del self.accounts.by_id[user.id]
        return done()


def _password(call: Call) -> str:
    """`confirm` may be left out; where it is sent it has to be the same."""
    password = call.need("passwd")
    if call.get("confirm", password) != password:
        raise PanelError("value", "confirm", "", "The passwords differ")
    return password
