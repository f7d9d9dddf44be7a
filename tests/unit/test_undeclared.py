"""What runs and is declared nowhere: ours is told with its command, a person's is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from phoenix.components.docker.projects import (
    Anonymous,
    ComposeProject,
    Container,
    Deployer,
    Port,
    Volume,
)
from phoenix.derived import register
from phoenix.derived.register import Entry
from phoenix.health.removal import removal
from phoenix.health.undeclared import (
    Item,
    Placed,
    Sightings,
    TaggedGuest,
    Undeclared,
    moves,
    select,
    undeclared,
)
from phoenix.site.model import Site
from tests.unit.site_builder import minimal, stack, vm

MADE = datetime(2026, 11, 26, 4, 0, tzinfo=UTC)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return two_workers(tmp_path)


def two_workers(folder: Path, *, stacks: Sequence[str] = ("shop",)) -> Site:
    """The five guests and one Docker host more, `spare`, which has `stacks`' second half."""
    declaration = minimal()
    declaration.vm["vms"][1]["docker_stacks"] = [name for name in stacks if name == "shop"]
    declaration.vm["vms"].append(
        vm(1003, "spare", "docker", 25, portainer_role="agent", dependencies=["1001"],
           docker_stacks=[name for name in stacks if name != "shop"],
           portainer_agent_hostname="spare-agent")
    )  # fmt: skip
    declaration.stacks["blog"] = stack("blog", 8100)
    return declaration.load(folder / "-".join(("site", *stacks)))


def project(
    name: str, deployer: Deployer | None = "portainer", *, containers: int = 1, volumes: int = 0
) -> ComposeProject:
    containers_made = tuple(
        Container(f"{name}-web-{number}", "web", "example/web:1", "running", True, MADE)
        for number in range(containers)
    )
    volumes_made = tuple(
        Volume(f"{name}_v{number}", f"/v{number}", True) for number in range(volumes)
    )
    ports = (Port("", 8100, 80, "tcp"), Port("::", 8100, 80, "tcp")) if containers else ()
    return ComposeProject(
        name,
        deployer if containers else None,
        "/data/compose/1",
        containers_made,
        volumes_made,
        ports,
    )


def sightings_of(site: Site, former: Site | None = None, **more: object) -> Sightings:
    """Of a site whose register has what it and `former` declare."""
    entries = dict.fromkeys(
        (*register.entries(site), *(register.entries(former) if former else ()))
    )
    everything = Sightings(
        projects={host.name: () for host in site.hosts},
        placed={host.name: Placed() for host in site.hosts},
        register=tuple(entries),
        endpoints=[host.portainer_environment for host in site.agents],
    )
    return replace(everything, **more)  # type: ignore[arg-type]


def with_projects(of: Sightings, **projects: Sequence[ComposeProject]) -> Sightings:
    return replace(of, projects={**of.projects, **projects})


def items_by_command(site: Site, of: Sightings) -> dict[str, Item]:
    return {item.command: item for item in undeclared(site, of).items}


def test_what_is_declared_is_not_told(site: Site) -> None:
    of = with_projects(sightings_of(site), worker=[project("shop-production")])
    of = replace(
        of,
        placed={
            "worker": Placed(("base", "ssh", "trust", "docker", "portainer-agent", "acme-host"),
                             ("host",)),
            "gateway": Placed(("nginx", "acme-gateway"), ("gateway",)),
        },
        guests=[TaggedGuest(1002, "qemu", "pve", "worker", True)],
        stacks=[("shop-production", "worker")],
    )  # fmt: skip
    leftovers = undeclared(site, of)
    assert (leftovers.items, leftovers.foreign) == ((), ())


def test_a_removed_stack_is_told_with_what_it_holds(site: Site, tmp_path: Path) -> None:
    former = two_workers(tmp_path, stacks=("shop", "blog"))
    unnamed = Anonymous("ab" * 32, "blog-web-1", "/cache")
    blog = replace(project("blog-production", containers=2, volumes=1), anonymous=(unnamed,))
    of = with_projects(sightings_of(site, former), spare=[blog])
    (item,) = undeclared(site, of).items
    assert (item.kind, item.name, item.host, item.since) == (
        "stack", "blog-production", "spare", MADE,
    )  # fmt: skip
    assert item.holds == (
        "2 containers, 2 running",
        "port 8100/tcp",
        "volume blog-production_v0",
        "the anonymous volume abababababab (/cache of blog-web-1)",
    )
    assert item.command == "phoenix remove blog-production"
    assert not item.kept


def test_what_a_person_started_is_not_ours(site: Site, tmp_path: Path) -> None:
    former = two_workers(tmp_path, stacks=("shop", "blog"))
    of = with_projects(
        sightings_of(site, former),
        spare=[project("blog-production", "hand"), project("pihole", "portainer")],
        worker=[project("old", None, containers=0, volumes=1)],
    )
    leftovers = undeclared(site, of)
    assert leftovers.items == ()
    assert [
        (project_left.project, project_left.host, project_left.deployer)
        for project_left in leftovers.foreign
    ] == [
        ("blog-production", "spare", "hand"),
        ("pihole", "spare", "portainer"),
    ]


def test_kept_volumes_are_told_and_no_fault(site: Site, tmp_path: Path) -> None:
    former = two_workers(tmp_path, stacks=("shop", "blog"))
    of = with_projects(
        sightings_of(site, former), spare=[project("blog-production", containers=0, volumes=1)]
    )
    leftovers = undeclared(site, of)
    (item,) = leftovers.items
    assert (item.kind, item.kept, leftovers.running) == ("volumes", True, ())
    assert item.command == "phoenix remove blog-production --volumes"


def named_hosts(folder: Path, **names: int) -> Site:
    """A site with these Docker hosts, each with the last part of its address."""
    declaration = minimal()
    declaration.vm["vms"] = declaration.vm["vms"][:1] + [
        vm(978 + at, name, "docker", at, portainer_role="agent", dependencies=["1001"],
           docker_stacks=["shop"] if at == 24 else ["blog"], portainer_agent_hostname=f"agent-{at}")
        for name, at in names.items()
    ]  # fmt: skip
    declaration.stacks["blog"] = stack("blog", 8100)
    return declaration.load(folder / "-".join(names))


def test_a_host_with_the_name_of_one_that_left_is_not_in_the_way_of_its_removal(
    tmp_path: Path,
) -> None:
    former = named_hosts(tmp_path, worker=24, spare=25)
    now = named_hosts(tmp_path / "now", worker=25)
    stacks = [("shop-production", "worker"), ("blog-production", "spare")]
    of = sightings_of(now, former, endpoints=["worker", "spare"], stacks=stacks)
    of = with_projects(of, worker=[project("blog-production")])
    leftovers = undeclared(now, of)
    assert {item.command for item in leftovers.items} == {
        "phoenix remove shop-production", "phoenix remove spare", "phoenix remove worker@10.0.0.24",
    }  # fmt: skip
    for item in leftovers.items:
        assert select(leftovers, item.command.removeprefix("phoenix remove "), now.domain) == (
            item,
        )
        asked = removal(now, of, item, volumes=False, destroy=False)
        asked.check(now)  # each command that is told can be carried out
        assert "worker" not in item.endpoints, "Portainer's name of the host that is declared"


def test_hosts_that_exchange_their_names_keep_the_stacks_that_run_on_them(tmp_path: Path) -> None:
    """Until the next sync Portainer has each stack under the name that the other host has now."""
    former = named_hosts(tmp_path, worker=24, spare=25)
    now = named_hosts(tmp_path / "now", spare=24, worker=25)
    before = [("shop-production", "worker"), ("blog-production", "spare")]
    of = with_projects(
        sightings_of(now, former, endpoints=["worker", "spare"], stacks=before),
        worker=[project("blog-production")],
        spare=[project("shop-production")],
    )
    assert undeclared(now, of).items == ()
    synced = [*before, ("blog-production", "worker"), ("shop-production", "spare")]
    left = undeclared(now, replace(of, stacks=synced)).items
    assert [item.command for item in left] == [
        "phoenix remove blog-production@spare", "phoenix remove shop-production@worker",
    ]  # fmt: skip


def taking(folder: Path, volume: str, **body: object) -> Site:
    """The two workers; the stack `shop` names a volume of `gone-production`."""
    declaration = minimal()
    compose = declaration.stacks["shop"][1]
    compose["services"]["web"]["volumes"] = ["data:/d"]
    compose["volumes"] = {"data": {"name": volume, **body}}
    return declaration.load(folder / "taking")


@pytest.mark.parametrize("body", [{"external": True}, {}])
def test_volumes_that_a_declared_stack_has_are_not_offered_for_removal(
    tmp_path: Path, body: dict[str, object]
) -> None:
    """The way that a stack with a new name keeps its data (docs/services.md)."""
    now = taking(tmp_path, "gone-production_v0", **body)
    entry = Entry("stack", "gone-production", "worker", "10.0.0.24", 1002)
    with_volume = project("gone-production", containers=0, volumes=1)
    of = with_projects(
        replace(sightings_of(now), register=(*sightings_of(now).register, entry)),
        worker=[with_volume],
    )
    assert undeclared(now, of).items == ()
    of = with_projects(of, worker=[project("gone-production", containers=0, volumes=2)])
    (item,) = undeclared(now, of).items
    assert item.holds == ("volume gone-production_v1",)
    asked = removal(now, of, item, volumes=True, destroy=False)
    assert asked.keeps == (("gone-production_v0", "shop-production"),)
    assert asked.lines == (), "by the register the volume that stays is told from a person's"


def test_a_stack_that_is_declared_elsewhere_moves(site: Site, tmp_path: Path) -> None:
    now = two_workers(tmp_path, stacks=("shop", "blog"))
    of = with_projects(
        sightings_of(now), worker=[project("blog-production"), project("shop-production")]
    )
    assert [(m.project, m.source.name, m.target.name) for m in moves(now, of)] == [
        ("blog-production", "worker", "spare")
    ]
    assert undeclared(now, of).items == ()


def test_a_second_copy_does_not_move_and_its_command_names_the_host(tmp_path: Path) -> None:
    now = two_workers(tmp_path, stacks=("shop", "blog"))
    copies = {"worker": [project("blog-production")], "spare": [project("blog-production")]}
    of = with_projects(sightings_of(now), **copies)
    assert moves(now, of) == ()
    assert items_by_command(now, of).keys() == {"phoenix remove blog-production@worker"}


def test_what_moves_to_a_host_that_does_not_tell_is_not_undeclared(tmp_path: Path) -> None:
    now = two_workers(tmp_path, stacks=("shop", "blog"))
    of = with_projects(sightings_of(now), worker=[project("blog-production")])
    silent = replace(of, projects={k: v for k, v in of.projects.items() if k != "spare"})
    assert [(m.project, m.target.name) for m in moves(now, silent)] == [
        ("blog-production", "spare")
    ]
    assert undeclared(now, silent).items == ()


def test_a_stack_without_containers_is_told_by_portainer(site: Site, tmp_path: Path) -> None:
    former = two_workers(tmp_path, stacks=("shop", "blog"))
    of = replace(
        sightings_of(site, former),
        stacks=[("blog-production", "spare"), ("by-a-person", "spare"),
                ("shop-production", "missing endpoint 7"), ("shop-production", "worker")],
    )  # fmt: skip
    assert [(item.name, item.host) for item in undeclared(site, of).items] == [
        ("shop-production", ""),
        ("blog-production", "spare"),
    ]


def test_a_declared_stack_of_a_deleted_endpoint_comes_back_and_is_not_told(site: Site) -> None:
    of = replace(sightings_of(site), stacks=[("shop-production", "missing endpoint 7")])
    assert undeclared(site, of).items == ()


def test_files_and_containers_of_a_stack_are_one_thing(site: Site, tmp_path: Path) -> None:
    former = two_workers(tmp_path, stacks=("shop", "blog"))
    of = replace(
        with_projects(sightings_of(site, former), spare=[project("blog-production")]),
        placed={"spare": Placed(("stack-blog-production",))},
        stacks=[("blog-production", "spare")],
    )
    (item,) = undeclared(site, of).items
    assert item.holds[-1] == "its files"
    alone = replace(
        sightings_of(site, former), placed={"spare": Placed(("stack-blog-production",))}
    )
    assert [item.holds for item in undeclared(site, alone).items] == [("its files",)]


def test_a_host_that_lost_its_agent(tmp_path: Path) -> None:
    former = two_workers(tmp_path)
    declaration = minimal()
    declaration.vm["vms"].append(vm(1003, "spare", None, 25))
    now = declaration.load(tmp_path / "now")
    of = replace(
        with_projects(
            sightings_of(now, former), spare=[project("phoenix-portainer-agent", "phoenix")]
        ),
        placed={"spare": Placed(("base", "docker", "portainer-agent", "acme-host"), ("host",))},
        endpoints=["worker", "spare", "a-persons"],
        stacks=[("blog-production", "spare")],
    )
    report = items_by_command(now, of)
    assert [(item.kind, item.name) for item in report.values()] == [
        ("component", "docker"),
        ("component", "portainer-agent"),
        ("certificate", "acme-host"),
        ("endpoint", "spare"),
    ]
    assert "phoenix remove portainer-agent@spare" in report
    # These names are declared as something else: their commands say which one is meant.
    assert {"phoenix remove docker@spare", "phoenix remove endpoint:spare"} <= report.keys()


def test_a_certificate_outlives_its_timer(site: Site) -> None:
    of = replace(sightings_of(site), placed={"control": Placed((), ("host", "gateway"))})
    (item,) = undeclared(site, of).items
    assert (item.kind, item.name, item.host) == ("certificate", "acme-gateway", "control")


def test_a_removed_host_with_its_endpoint_and_guest(tmp_path: Path) -> None:
    former = two_workers(tmp_path, stacks=("shop", "blog"))
    now = minimal().load(tmp_path / "now")
    of = replace(
        sightings_of(now, former),
        endpoints=["worker", "spare"],
        stacks=[("blog-production", "spare")],
        guests=[TaggedGuest(1003, "qemu", "pve", "spare", True)],
    )
    (item,) = undeclared(now, of).items
    assert (item.kind, item.name, item.address, item.vmid) == ("host", "spare", "10.0.0.25", 1003)
    assert item.endpoints == ("spare",)
    assert item.holds == (
        "endpoint spare in Portainer", "stack blog-production", "VM 1003 on pve, running",
    )  # fmt: skip
    assert item.command == "phoenix remove spare"
    full = f"spare.host.{now.domain}"
    for word in ("1003", "10.0.0.25", "host:spare", full, f"host:{full.upper()}.", "spare.host"):
        assert select(undeclared(now, of), word, now.domain) == (item,), word
    assert select(undeclared(now, of), "spare.host.example.com", now.domain) == ()


def test_a_renamed_or_moved_host_is_the_same_machine(site: Site) -> None:
    worker = site.host("worker")
    for entry in (
        Entry("host", "before", "before", str(worker.address), 77),
        Entry("host", "before", "before", "10.9.9.9", worker.vmid),
    ):
        of = replace(sightings_of(site), register=(*register.entries(site), entry))
        assert undeclared(site, of).items == ()


def test_a_guest_with_our_tag_that_nobody_declared(site: Site) -> None:
    of = replace(sightings_of(site), guests=[TaggedGuest(900, "lxc", "pve2", "scratch", False)])
    (item,) = undeclared(site, of).items
    assert (item.kind, item.host, item.holds) == (
        "guest", "pve2", ("container 900 on pve2, stopped",),
    )  # fmt: skip


def test_secrets_of_removed_stacks_alone(site: Site) -> None:
    entry = Entry("secret", "blog_password", "spare", "10.0.0.25", 1003)
    of = replace(
        sightings_of(site),
        register=(*register.entries(site), entry),
        stored=frozenset({"blog_password", "of_another_site", "shop_password"}),
        used=frozenset({"shop_password"}),
    )
    (item,) = undeclared(site, of).items
    assert (item.kind, item.name, item.kept) == ("secret", "blog_password", True)


def test_select_tells_hosts_and_kinds_apart(tmp_path: Path) -> None:
    now = two_workers(tmp_path, stacks=())
    former = two_workers(tmp_path, stacks=("shop", "blog"))
    of = with_projects(
        sightings_of(now, former),
        worker=[project("shop-production")],
        spare=[project("shop-production"), project("blog-production")],
    )
    leftovers = undeclared(now, of)
    assert [item.host for item in select(leftovers, "shop-production", now.domain)] == [
        "spare",
        "worker",
    ]
    assert [item.host for item in select(leftovers, "Shop-Production@worker", now.domain)] == [
        "worker"
    ]
    assert [item.host for item in select(leftovers, "stack:shop-production@spare", now.domain)] == [
        "spare"
    ]
    assert select(leftovers, "volumes:shop-production", now.domain) == ()
    full = f"shop-production@spare.host.{now.domain}"
    for word in ("STACK:Shop-Production@Spare", "stack:shop-production.@spare.", full):
        assert [item.host for item in select(leftovers, word, now.domain)] == ["spare"], word
    assert [item.command for item in leftovers.items] == [
        "phoenix remove blog-production",
        "phoenix remove shop-production@spare",
        "phoenix remove shop-production@worker",
    ]


def test_the_register_reads_what_it_writes(site: Site) -> None:
    entries = register.entries(site)
    assert register.parse(entry.line for entry in entries) == entries
    assert {(e.kind, e.name) for e in entries} >= {("stack", "shop-production"), ("host", "worker")}
    with pytest.raises(register.RegisterError, match=r"the line 'stack\\tx'"):
        register.parse(["stack\tx"])


def test_rules_of_a_firewall_that_no_sync_keeps(site: Site) -> None:
    worker = site.host("worker").vmid
    rules = {f"/etc/pve/firewall/{worker}.fw": 7, "/etc/pve/nodes/pve/host.fw": 3,
             "/etc/pve/firewall/77.fw": 2}  # fmt: skip
    assert undeclared(site, replace(sightings_of(site), rules=rules)).items == ()
    (item,) = undeclared(site, replace(sightings_of(site), rules=rules, firewall=False)).items
    assert (item.kind, item.command) == ("firewall", "phoenix remove rules")
    assert item.holds == (
        f"7 in /etc/pve/firewall/{worker}.fw", "3 in /etc/pve/nodes/pve/host.fw",
    )  # fmt: skip


@pytest.mark.parametrize("word", ["", " ", "@worker", "stack:", "stack:@worker", "None", "none"])
def test_a_word_without_a_name_means_nothing(word: str) -> None:
    """As where a script's variable is empty: `phoenix remove "$STACK" -y`."""
    leftovers = Undeclared(items=(Item(kind="stack", name="shop-production", host="worker"),))
    assert select(leftovers, word, "example.com") == ()
    assert select(leftovers, "stack:shop-production@worker", "example.com") == leftovers.items


def test_the_guard_of_a_host_that_has_none_is_told(tmp_path: Path) -> None:
    declared = minimal()
    of = replace(
        sightings_of(declared.load(tmp_path / "on")), placed={"worker": Placed(("base", "guard"))}
    )
    assert undeclared(declared.load(tmp_path / "on"), of).items == ()
    declared.lxc["site"] = {"guard": False}
    (item,) = undeclared(declared.load(tmp_path / "off"), of).items
    assert (item.kind, item.name, item.host) == ("component", "guard", "worker")
    assert item.command == "phoenix remove guard@worker"
