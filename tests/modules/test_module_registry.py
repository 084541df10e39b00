from __future__ import annotations

import subprocess
import sys

import pytest

from daemon.domain.errors import ConfigError
from daemon.ipam import registry as ipam_registry
from daemon.modules import registry as module_registry


def test_our_own_plugins_are_found_through_entry_points() -> None:
    assert {"dcimanager", "manual"} <= set(module_registry.types())
    assert "ipmanager" in ipam_registry.types()
    assert module_registry.plugin("dcimanager").type == "dcimanager"
    assert ipam_registry.plugin("ipmanager").type == "ipmanager"


@pytest.mark.parametrize("registry", [module_registry, ipam_registry])
def test_a_type_that_is_not_installed_is_named_with_those_that_are(registry: object) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.plugin("openstack")  # type: ignore[attr-defined]
    assert caught.value.code == "unknown_type"
    assert "openstack" in caught.value.message


@pytest.mark.parametrize("package", ["daemon.modules.dcimanager", "daemon.ipam.ipmanager", "daemon.modules.manual"])
def test_importing_a_plugin_does_not_import_aiohttp(package: str) -> None:
    code = f"import sys, {package}; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
