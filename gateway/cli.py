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
app.add_typer(alerts_app, name="alerts")
app.add_typer(profiles_app, name="profiles")
app.add_typer(buffer_app, name="buffer")

SiteFile = Annotated[Path, typer.Argument(metavar="SITE.yaml", help="The site file.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Scenario = Annotated[str, typer.Option(help="normal, dust, night-pour or line-noise.")]
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
    json: Json = False,
) -> None:
    """Read one device once and show what it says."""
    from gateway.commands.probe import probe as command

    raise typer.Exit(command(site, device, show_raw=raw, as_json=json))


@app.command()
def decode(
    protocol: Annotated[str, typer.Argument(metavar="PROTOCOL", help="dlt645 or modbus-rtu.")],
    file: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="Lines of hexadecimal bytes; - is standard input.")
    ] = "-",
) -> None:
    """Explain frames: one line of hexadecimal bytes in, one JSON object per frame or error out."""
    from gateway.commands.decode import decode as command

    raise typer.Exit(command(protocol, file))


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
