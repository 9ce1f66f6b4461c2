"""The command line. Each command says what it does in one sentence and leaves the work to gateway.commands.

Exit status: 0 fine, 1 a problem was found, 2 wrong use of the command line.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from gateway import __version__

app = typer.Typer(
    help="Sitegate: the gateway for construction sites.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
profiles_app = typer.Typer(help="Device profiles: list, show, test.", no_args_is_help=True)
buffer_app = typer.Typer(help="Look into a gateway's buffer while the gateway is stopped.", no_args_is_help=True)
alerts_app = typer.Typer(help="Limits and alarms: the rules, their tests, and what is open.", no_args_is_help=True)
dashboards_app = typer.Typer(help="Grafana dashboards: build them, bring them to a server.", no_args_is_help=True)
notices_app = typer.Typer(help="Telling people of alarms: try a channel, see what was sent.", no_args_is_help=True)
outputs_app = typer.Typer(help="Valves and cannons: how they stand, and switching them by hand.", no_args_is_help=True)
app.add_typer(alerts_app, name="alerts")
app.add_typer(dashboards_app, name="dashboards")
app.add_typer(notices_app, name="notices")
app.add_typer(outputs_app, name="outputs")
app.add_typer(profiles_app, name="profiles")
app.add_typer(buffer_app, name="buffer")

SiteFile = Annotated[Path, typer.Argument(metavar="SITE.yaml", help="The site file.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Scenario = Annotated[
    str,
    typer.Option(
        help="normal, dust, night-pour, line-noise; with a fault: stuck-relay, welded-relay, dry-tank, relay-reboot, "
        "mute-sensor."
    ),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same day.")]
Speed = Annotated[float, typer.Option(min=0.1, max=1000, help="Simulated seconds per second.")]
Seconds = Annotated[Optional[float], typer.Option(min=0.1, help="Stop by itself after this time.")]  # noqa: UP045  # typer reads it


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sitegate {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


@app.command()
def demo(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes a free one.")] = 8080,
    seconds: Seconds = None,
    scenario: Scenario = "normal",
    seed: Seed = 1,
    speed: Speed = 1.0,
    json: Json = False,
) -> None:
    """Start a simulated pilot site on real protocols, and the gateway on it."""
    from gateway.commands.demo import demo as command

    raise typer.Exit(command(port=port, seconds=seconds, scenario=scenario, seed=seed, speed=speed, as_json=json))


@app.command()
def run(site: SiteFile, seconds: Seconds = None) -> None:
    """Run the gateway of a site until it is told to stop (Ctrl-C, SIGTERM)."""
    from gateway.commands.run import run as command

    raise typer.Exit(command(site, seconds))


@app.command()
def simulate(
    site: SiteFile,
    scenario: Scenario = "normal",
    seed: Seed = 1,
    speed: Speed = 1.0,
    seconds: Seconds = None,
) -> None:
    """Pretend to be the devices of a site file, on the addresses that it names."""
    from gateway.commands.simulate import simulate as command

    raise typer.Exit(command(site, scenario=scenario, seed=seed, speed=speed, seconds=seconds))


@app.command()
def check(site: SiteFile, json: Json = False) -> None:
    """Name every problem of a site file, then what each wire will have to carry.

    Touches no device; of a site that is not simulated it tries brokers on this very machine.
    """
    from gateway.commands.check import check as command

    raise typer.Exit(command(site, as_json=json))


@app.command()
def probe(
    site: SiteFile,
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Its name in the site file.")],
    raw: Annotated[bool, typer.Option("--raw", help="Show the frames on the wire too.")] = False,
    orders: Annotated[bool, typer.Option("--orders", help="Show Modbus numbers in every word and byte order.")] = False,
    json: Json = False,
) -> None:
    """Read one device once and show what it says."""
    from gateway.commands.probe import probe as command

    raise typer.Exit(command(site, device, show_raw=raw, orders=orders, as_json=json))


@app.command()
def decode(
    protocol: Annotated[str, typer.Argument(metavar="PROTOCOL", help="cjt188, dlt645, hj212 or modbus-rtu.")],
    file: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="Lines of hexadecimal bytes (hj212: text); - is standard input.")
    ] = "-",
    key: Annotated[Optional[str], typer.Option(help="hj212: SM4 key, 32 hexadecimal digits.")] = None,  # noqa: UP045  # typer reads it
    orders: Annotated[bool, typer.Option("--orders", help="modbus-rtu: registers in every byte order.")] = False,
) -> None:
    """Explain frames: one line of hexadecimal bytes in, one JSON object per frame or error out."""
    from gateway.commands.decode import decode as command

    raise typer.Exit(command(protocol, file, key, orders=orders))


Wires = Annotated[Optional[list[str]], typer.Option(metavar="PORT", help="A serial port; may be given again.")]  # noqa: UP045  # typer reads it
Hosts = Annotated[Optional[list[str]], typer.Option(metavar="HOST[:PORT]", help="A host; may be given again.")]  # noqa: UP045


@app.command()
def scan(
    serial: Wires = None,
    tcp: Hosts = None,
    baudrate: Annotated[Optional[list[int]], typer.Option(help="Only this speed; may be given again.")] = None,  # noqa: UP045
    parity: Annotated[Optional[list[str]], typer.Option(help="Only this one: none, even, odd.")] = None,  # noqa: UP045
    protocol: Annotated[Optional[list[str]], typer.Option(help="Only this one: modbus, dlt645, cjt188.")] = None,  # noqa: UP045
    units: Annotated[Optional[str], typer.Option(help="Modbus units, as in 1-32,100. Default: all.")] = None,  # noqa: UP045
    timeout: Annotated[float, typer.Option(min=0.005, max=10, help="Seconds a device may take to answer.")] = 0.2,
    within: Annotated[float, typer.Option(min=1, help="Seconds after which it stops and shows what it has.")] = 600,
    every_setting: Annotated[bool, typer.Option("--all", help="Try all speeds even after somebody answered.")] = False,
    profiles: Annotated[Path, typer.Option(help="Folder of own profiles, tried as well.")] = Path("profiles"),
    json: Json = False,
) -> None:
    """Find the devices on serial lines and hosts: every speed, parity, protocol and address; only reads.

    Stop the gateway first: a serial line has one master.
    """
    from gateway.commands.scan import scan_wires as command

    raise typer.Exit(
        command(
            serial or [],
            tcp or [],
            baudrates=baudrate or [],
            parities=parity or [],
            protocols=protocol or [],
            units=units,
            timeout_s=timeout,
            within_s=within,
            every_setting=every_setting,
            own_profiles=profiles,
            as_json=json,
        )
    )


@app.command()
def new(
    site: SiteFile,
    id: Annotated[Optional[str], typer.Option("--id", help="Short name; tag of all data.")] = None,  # noqa: A002, UP045
    name: Annotated[Optional[str], typer.Option(help="Its name for people.")] = None,  # noqa: UP045
    timezone: Annotated[str, typer.Option(help="Days, nights and reports follow it.")] = "Asia/Shanghai",
    link: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="NAME=…", help="As in meters=serial:/dev/ttyUSB0,9600,even or zones=tcp:10.0.4.20:502."),
    ] = None,
    device: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="NAME=PROFILE@LINK:ADDRESS", help="As in main=eastron_sdm630@meters:1."),
    ] = None,
    scan: Annotated[Optional[str], typer.Option(metavar="FILE|-", help="What `sitegate scan --json` printed.")] = None,  # noqa: UP045
    simulated: Annotated[bool, typer.Option("--simulated", help="Its numbers will come from simulators.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a site file with comments; on a terminal it asks for what the options do not say."""
    from gateway.commands.new import new as command

    raise typer.Exit(
        command(
            site,
            site_id=id,
            name=name,
            timezone=timezone,
            links=link or [],
            devices=device or [],
            scan_file=scan,
            simulated=simulated,
            force=force,
        )
    )


@dashboards_app.command("build")
def dashboards_build(
    site: Annotated[Optional[Path], typer.Argument(metavar="[SITE.yaml]", help="Whose limits are drawn.")] = None,  # noqa: UP045
    out: Annotated[Optional[Path], typer.Option(help="Folder; default: the package's own.")] = None,  # noqa: UP045
    check: Annotated[bool, typer.Option("--check", help="Write nothing; say what is not current.")] = False,
) -> None:
    """Write the dashboards as JSON, in English and Chinese."""
    from gateway.commands.dashboards import build

    raise typer.Exit(build(site, out, check=check))


@dashboards_app.command("provision")
def dashboards_provision(
    site: SiteFile,
    out: Annotated[Path, typer.Option(help="Folder to write to; it becomes Grafana's provisioning folder.")],
    found_at: Annotated[
        Optional[str], typer.Option("--at", metavar="PATH", help="Where Grafana sees that folder, if elsewhere.")  # noqa: UP045
    ] = None,
) -> None:
    """Write the files that a Grafana reads at its start: data source, dashboards, alert rules, contact points."""
    from gateway.commands.dashboards import provision

    raise typer.Exit(provision(site, out, found_at))


@dashboards_app.command("push")
def dashboards_push(
    site: SiteFile,
    url: Annotated[str, typer.Option(help="Grafana's first page, such as http://host:3000.")],
    token: Annotated[str, typer.Option(envvar="GRAFANA_TOKEN", help="Of a service account with the role Editor.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; show what differs.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what people changed in Grafana.")] = False,
) -> None:
    """Bring the dashboards to a running Grafana; twice the same is nothing."""
    from gateway.commands.dashboards import push

    raise typer.Exit(push(url, token, site, dry_run=dry_run, force=force))


@profiles_app.command("list")
def profiles_list(json: Json = False) -> None:
    """List the profiles that are known."""
    from gateway.commands.profiles import list_all

    raise typer.Exit(list_all(as_json=json))


@profiles_app.command("show")
def profiles_show(name: Annotated[str, typer.Argument(metavar="PROFILE")], json: Json = False) -> None:
    """Show one profile: its points, limits, source and caveats."""
    from gateway.commands.profiles import show

    raise typer.Exit(show(name, as_json=json))


@profiles_app.command("test")
def profiles_test(
    files: Annotated[Optional[list[Path]], typer.Argument(metavar="[FILE…]", help="Default: all shipped ones.")] = None,  # noqa: UP045  # typer reads it
    json: Json = False,
) -> None:
    """Check profiles against their own examples."""
    from gateway.commands.profiles import test

    raise typer.Exit(test(files or [], as_json=json))


@alerts_app.command("rules")
def alerts_rules(
    site: Annotated[Optional[Path], typer.Argument(metavar="[SITE.yaml]", help="What it has chosen.")] = None,  # noqa: UP045  # typer reads it
    json: Json = False,
) -> None:
    """List the rules with their limits and sources, and how sure those are."""
    from gateway.commands.alerts import rules

    raise typer.Exit(rules(site, as_json=json))


@alerts_app.command("test")
def alerts_test(
    files: Annotated[Optional[list[Path]], typer.Argument(metavar="[FILE…]", help="Default: all shipped ones.")] = None,  # noqa: UP045  # typer reads it
    json: Json = False,
) -> None:
    """Run the cases beside rule files; a rule without a case is a problem."""
    from gateway.commands.alerts import test

    raise typer.Exit(test(files or [], as_json=json))


OfSite = Annotated[Optional[Path], typer.Argument(metavar="[SITE.yaml]", help="Its gateway, running or stopped.")]  # noqa: UP045  # typer reads it
Url = Annotated[Optional[str], typer.Option(help="The page of a running gateway, such as http://10.0.4.2:8080.")]  # noqa: UP045  # typer reads it
Password = Annotated[Optional[str], typer.Option(envvar="SITEGATE_PASSWORD", help="Of that page.")]  # noqa: UP045  # typer reads it
AlarmId = Annotated[str, typer.Argument(metavar="ALARM", help="Its id, as `alerts list` shows it.")]
By = Annotated[str, typer.Option(envvar=["SITEGATE_NAME", "USER"], help="Who you are.")]
Note = Annotated[str, typer.Option(help="What was found or done; stays in the alarm's history.")]


@alerts_app.command("list")
def alerts_list(
    site: OfSite = None,
    url: Url = None,
    password: Password = None,
    past: Annotated[bool, typer.Option("--all", help="Everything of the last seven days.")] = False,
    json: Json = False,
) -> None:
    """List the alarms that are not over."""
    from gateway.commands.alarms import list_alarms

    raise typer.Exit(list_alarms(site, url, password, past=past, as_json=json))


@alerts_app.command("ack")
def alerts_ack(
    alarm: AlarmId, by: By, site: OfSite = None, url: Url = None, password: Password = None, note: Note = ""
) -> None:
    """Say that you have seen an alarm: it is not escalated any more."""
    from gateway.commands.alarms import answer

    raise typer.Exit(answer(site, url, password, alarm=alarm, step="acknowledge", by=by, note=note))


@alerts_app.command("act")
def alerts_act(
    alarm: AlarmId, by: By, note: Note, site: OfSite = None, url: Url = None, password: Password = None
) -> None:
    """Note what was done about an alarm."""
    from gateway.commands.alarms import answer

    raise typer.Exit(answer(site, url, password, alarm=alarm, step="act", by=by, note=note))


@alerts_app.command("close")
def alerts_close(
    alarm: AlarmId, by: By, note: Note, site: OfSite = None, url: Url = None, password: Password = None
) -> None:
    """Close an alarm whose cause is gone, with a note."""
    from gateway.commands.alarms import answer

    raise typer.Exit(answer(site, url, password, alarm=alarm, step="close", by=by, note=note))


OutputName = Annotated[str, typer.Argument(metavar="OUTPUT", help="Its name in the site file.")]
Minutes = Annotated[float, typer.Option(min=0.1, max=1440, help="How long it stays in your hands.")]


@outputs_app.command("list")
def outputs_list(site: OfSite = None, url: Url = None, password: Password = None, json: Json = False) -> None:
    """List the outputs: how they stand, why, and what refuses a start just now."""
    from gateway.commands.outputs import list_outputs

    raise typer.Exit(list_outputs(site, url, password, as_json=json))


@outputs_app.command("log")
def outputs_log(
    site: OfSite = None,
    output: Annotated[Optional[str], typer.Argument(metavar="[OUTPUT]", help="Default: all of them.")] = None,  # noqa: UP045  # typer reads it
    url: Url = None,
    password: Password = None,
    json: Json = False,
) -> None:
    """Show what was asked, refused, switched and confirmed in the last day."""
    from gateway.commands.outputs import log_of

    raise typer.Exit(log_of(site, url, password, output, as_json=json))


@outputs_app.command("on")
def outputs_on(
    site: OfSite, output: OutputName, by: By, minutes: Minutes = 15, url: Url = None, password: Password = None
) -> None:
    """Switch an output on by hand; interlocks still hold."""
    from gateway.commands.outputs import command

    raise typer.Exit(command(site, url, password, output=output, want="on", by=by, minutes=minutes))


@outputs_app.command("off")
def outputs_off(
    site: OfSite, output: OutputName, by: By, minutes: Minutes = 15, url: Url = None, password: Password = None
) -> None:
    """Switch an output off by hand; no alarm switches it on meanwhile."""
    from gateway.commands.outputs import command

    raise typer.Exit(command(site, url, password, output=output, want="off", by=by, minutes=minutes))


@outputs_app.command("auto")
def outputs_auto(site: OfSite, output: OutputName, by: By, url: Url = None, password: Password = None) -> None:
    """Give an output back to the alarms, and a fault as seen to."""
    from gateway.commands.outputs import command

    raise typer.Exit(command(site, url, password, output=output, want="auto", by=by, minutes=1))


@notices_app.command("test")
def notices_test(
    site: SiteFile,
    channel: Annotated[Optional[str], typer.Argument(metavar="[CHANNEL]", help="Default: all of them.")] = None,  # noqa: UP045  # typer reads it
    json: Json = False,
) -> None:
    """Send one test message now, and say how it went."""
    from gateway.commands.notices import test

    raise typer.Exit(test(site, channel, as_json=json))


@notices_app.command("list")
def notices_list(site: SiteFile, url: Url = None, password: Password = None, json: Json = False) -> None:
    """List what waits to be told, and what was sent or left out lately."""
    from gateway.commands.notices import list_notices

    raise typer.Exit(list_notices(site, url, password, as_json=json))


@buffer_app.command("stat")
def buffer_stat(site: SiteFile, json: Json = False) -> None:
    """Say what is in the buffer of a stopped gateway."""
    from gateway.commands.buffer import stat

    raise typer.Exit(stat(site, as_json=json))


@buffer_app.command("export")
def buffer_export(site: SiteFile) -> None:
    """Print every record in the buffer of a stopped gateway, one JSON object per line."""
    from gateway.commands.buffer import export

    raise typer.Exit(export(site))


@app.command()
def install(
    site: Annotated[
        Optional[Path],  # noqa: UP045  # typer reads it
        typer.Argument(metavar="[SITE.yaml]", help="Becomes /etc/sitegate/site.yaml; not needed for an update."),
    ] = None,
    root: Annotated[Path, typer.Option(help="Install below this folder, such as a mounted image.")] = Path("/"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; show every step.")] = False,
) -> None:
    """Make the gateway a service of this box: user, folders, systemd unit, serial adapters."""
    from gateway.commands.install import install as command

    raise typer.Exit(command(site, root, dry_run=dry_run))


Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


@app.command()
def backup(
    site: SiteFile,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Such as box-7.tar.gz.")],
    force: Force = False,
) -> None:
    """Write configuration and stores into one file; the gateway may run meanwhile."""
    from gateway.commands.backup import backup as command

    raise typer.Exit(command(site, out, force=force))


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `sitegate backup` wrote.")],
    site: SiteFile,
    force: Force = False,
) -> None:
    """Bring a backup back while the gateway is stopped; nothing is deleted."""
    from gateway.commands.backup import restore as command

    raise typer.Exit(command(file, site, force=force))


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(metavar="site|profile|metrics", help="Which of them.")] = "site",
) -> None:
    """Print the JSON Schema of site files or profiles, for editors, or the table of all metrics."""
    from gateway.commands.schema import schema as command

    raise typer.Exit(command(kind))


def main() -> None:
    """Entry point of the ``sitegate`` command."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal without Chinese
    try:
        try:
            app(prog_name="sitegate")
        finally:
            sys.stdout.flush()  # here, where a closed pipe can be caught, and not when the interpreter ends
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
    except OSError as why:
        sys.stderr.write(f"{why}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
