"""The start page as HTML, from its data: no script, no inline style, everything escaped. Pure.

The watcher renders it with each look, and a run of Phoenix at its end where the site has no
watcher. So it is here, where the standard library is all there is. It has no script: what depends
on the time at which somebody reads it, nginx decides at each request, by `$msec`
(https://nginx.org/en/docs/http/ngx_http_ssi_module.html, command `if`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

Data = Mapping[str, Any]
"""An object of `home.json` (`phoenix.health.page`)."""

HISTORY_DAYS = 90
_PARTLY = 0.05
"""A day on which a service was broken for less than this share of the time looks better."""
_LAYERS = {
    "reach": "were not run",
    "service": "does not run as it should",
    "dns": "names are answered wrongly",
    "tcp": "the connection is not as it should be",
    "tls": "identity is not proven (TLS)",
    "certificate": "the certificate is not in order",
    "router": "Traefik does not route it",
    "http": "the answer is wrong",
}
_SYMBOLS = """<svg class="defs" aria-hidden="true">
<symbol id="ok" viewBox="0 0 20 20"><circle cx="10" cy="10" r="9"/><path d="M5.8 10.4l2.9 2.9 5.6-6.2"/></symbol>
<symbol id="broken" viewBox="0 0 20 20"><path class="fill" d="M7 1h6l6 6v6l-6 6H7l-6-6V7z"/><path d="M6.8 6.8l6.4 6.4M13.2 6.8l-6.4 6.4"/></symbol>
<symbol id="unknown" viewBox="0 0 20 20"><circle class="fill" cx="10" cy="10" r="9"/><path d="M5.8 10h8.4"/></symbol>
</svg>"""  # noqa: E501
_STATES = {
    "run": {"ok": "Was healthy", "broken": "Was not healthy", "unknown": "Not checked"},
    "watch": {"ok": "Healthy", "broken": "Not healthy", "unknown": "Not known"},
}
_AGES = (
    (60, "less than a minute ago"),
    (600, "minutes ago"),
    (3600, "less than an hour ago"),
    (86_400, "hours ago"),
    (7 * 86_400, "days ago"),
    (20 * 365 * 86_400, "more than a week ago"),
)
"""What is said of a page until it is so many seconds old."""


def html(page: Data, version: str) -> str:
    """The whole page; equal pages give equal text.

    Args:
        page: what `home.json` has.
        version: of the style, so that no page is shown with the style of another one.
    """
    lines = [
        *_head(page, version),
        *_verdict(page),
        "<main>",
        *_services(page),
        *(_certificates(page) if page["hosts"] else ()),
        *(_machines(page) if page["hosts"] else ()),
        "</main>",
        *_footer(page),
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def headline(checks: int, failed: int, not_run: int) -> str:
    """What was seen, in words: "All 62 checks passed", "2 of 62 checks failed"."""
    total = f"{checks} check{'' if checks == 1 else 's'}"
    if not failed and not not_run:
        return f"All {total} passed" if checks != 1 else "The one check passed"
    parts = []
    if failed:
        parts.append(f"{failed} of {total} failed")
    if not_run:
        of = "" if parts else f" of {total}"
        parts.append(f"{not_run}{of} {'was' if not_run == 1 else 'were'} not run")
    return ", ".join(parts)


def time_text(at: datetime) -> str:
    """`24 Nov 2026, 18:40 UTC`."""
    return f"{at.astimezone(UTC):%-d %b %Y, %H:%M} UTC"


def time_left(until: datetime, now: datetime) -> str:
    """What is left: `12 days`, `23 hours`, `50 minutes`, or `expired`."""
    remaining = until - now
    if remaining <= timedelta(0):
        return "expired"
    for unit, size in (("day", timedelta(days=1)), ("hour", timedelta(hours=1))):
        if remaining >= 2 * size:
            return f"{remaining // size} {unit}s left"
    return f"{remaining // timedelta(minutes=1)} minutes left"


def within(first: float, end: float) -> str:
    """A regular expression for what nginx's `$msec` begins with from `first` on, before `end`.

    Exact to a second, of more than an hour to 100 seconds, so that the expression stays short.
    """
    step = 100 if end - first > 3600 else 1
    return "|".join(_prefixes(int(first) // step, int(end) // step - 1))


def _prefixes(first: int, last: int) -> Iterator[str]:
    """Decimal digits that the numbers from `first` to `last`, and no others, begin with."""
    while first <= last:
        size = 1
        while first % (size * 10) == 0 and first + size * 10 - 1 <= last:
            size *= 10
        yield str(first // size)
        first += size


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _time(text: str) -> str:
    at = _at(text).astimezone(UTC)
    return f'<time datetime="{at:%Y-%m-%dT%H:%M:%SZ}">{time_text(at)}</time>'


def _until(text: str, page: Data) -> str:
    left = time_left(_at(text), _at(page["stamp"]["at"]))
    return f'{_time(text)} <span class="left">({left})</span>'


def _age(page: Data) -> str:
    """How old it is when somebody reads it; nginx leaves one of these."""
    written_at = _at(page["stamp"]["at"]).timestamp()
    begins, parts = 0, []
    for ends, words in _AGES:
        digits = within(written_at + begins, written_at + ends)
        parts.append(f'<!--# if expr="$msec = /^(?:{digits})/" -->, {words}<!--# endif -->')
        begins = ends
    return "".join(parts)


def _mark(state: str) -> str:
    use = f'<use href="#{state}"></use>'
    return f'<svg class="mark {state}" viewBox="0 0 20 20" aria-hidden="true">{use}</svg>'


def _state(state: str, text: str) -> str:
    return f'<div class="state {state}">{_mark(state)}{text}</div>'


def _why(health: Data) -> str:
    """The first cause in words; empty where there is none."""
    cause = health["first_cause"]
    if cause is None:
        return ""
    where = f"{escape(cause['host'])}: {escape(cause['hop'])}"
    return f"First cause, seen from {where}: {_LAYERS[cause['layer']]}"


def _words(health: Data) -> str:
    return headline(health["checks"], health["failed"], health["not_run"])


def _head(page: Data, version: str) -> Iterator[str]:
    domain = escape(page["domain"])
    yield from (
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="robots" content="noindex">',
    )
    if page["seen_by"] == "watch":
        yield '<meta http-equiv="refresh" content="60">'
    yield from (
        f"<title>{domain}</title>",
        f'<link rel="stylesheet" href="/style.css?{version}">',
        '<link rel="icon" type="image/svg+xml" href="/icon.svg">',
        "</head>",
        f'<body class="{page["seen_by"]}">',
    )
    stamp = page["stamp"]
    fresh = within(_at(stamp["at"]).timestamp(), _at(stamp["old_at"]).timestamp())
    yield f'<!--# if expr="$msec != /^(?:{fresh})/" -->'
    if page["seen_by"] == "watch":
        reason = "nothing has come from the watcher since. What follows is not known to hold now."
    else:
        reason = (
            "nothing was checked since. How the site is now, <code>phoenix status</code> tells."
        )
    when = _time(stamp["at"])
    yield f'<p class="old" role="status">This is old: it was seen {when}, and {reason}</p>'
    yield "<!--# endif -->"
    yield _SYMBOLS


def _verdict(page: Data) -> Iterator[str]:
    health, stamp = page["health"], page["stamp"]
    yield from (
        "<header>",
        '<p class="brand"><img src="/icon.svg" alt="" width="18" height="18"> Phoenix</p>',
        f"<h1>{escape(page['domain'])}</h1>",
        f'<div class="verdict {health["state"]}">',
        _mark(health["state"]),
        "<div>",
        f'<p class="headline">{_words(health)}</p>',
    )
    if health["first_cause"]:
        yield f"<p>{_why(health)}.</p>"
    for warning in page["warnings"]:
        yield f"<p>Warning, seen from {escape(warning['host'])}: {escape(warning['hop'])}.</p>"
    if page["working"]:
        yield "<p>A run of Phoenix works on the site: what it changes may stop for a while.</p>"
    written = f"Seen {_time(stamp['at'])}{_age(page)}"
    if page["seen_by"] == "watch":
        yield (
            f'<p class="asof">{written}. The site watches itself; this page renews each minute.</p>'
        )
    else:
        yield (
            f'<p class="asof">{written}, at the end of a run; nothing is checked between runs, so '
            "how it is now is not known. Certificates renew by themselves, so they may end later "
            "than shown.</p>"
        )
    yield from ("</div>", "</div>", "</header>")


def _services(page: Data) -> Iterator[str]:
    yield from (
        '<section aria-labelledby="services">',
        '<h2 id="services">Services</h2>',
        '<ul class="cards">',
    )
    for service in page["services"]:
        yield from _card(service, page)
    if not page["services"]:
        yield "<li><p>No service is declared.</p></li>"
    yield from ("</ul>", "</section>")


def _card(service: Data, page: Data) -> Iterator[str]:
    health, name = service["health"], escape(service["name"])
    if service["url"].startswith("https:"):
        name = f'<a href="{escape(service["url"])}">{name}</a>'
    icon = escape(service["icon"] or service["name"][:1].upper())
    yield "<li>"
    yield f'<h3><span class="icon" aria-hidden="true">{icon}</span> {name}</h3>'
    if service["description"]:
        yield f'<p class="what">{escape(service["description"])}</p>'
    yield f'<p class="state {health["state"]}">{_mark(health["state"])}'
    yield f"{_STATES[page['seen_by']][health['state']]}"
    yield "</p>"
    if health["first_cause"]:
        yield f'<p class="why">{_why(health)}.</p>'
    yield from _history(service["history"], page)
    if service["owner"]:
        asks = ", asks for a log-in" if service["login"] else ""
        yield "<dl>"
        yield f"<div><dt>Runs on</dt><dd>{escape(service['owner'])}{asks}</dd></div>"
        if service["stack"]:
            yield f"<div><dt>Stack</dt><dd>{escape(service['stack'])}</dd></div>"
        if page["seen_by"] == "run":
            until = service["certificate_until"]
            text = _until(until, page) if until else "one is not served"
            yield f"<div><dt>Certificates until</dt><dd>{text}</dd></div>"
        yield "</dl>"
    elif service["login"]:
        yield "<p>Asks for a log-in</p>"
    yield "</li>"


def _history(days: Sequence[Data], page: Data) -> Iterator[str]:
    """What was seen of a service in the last days: a bar of a day each, and words for the same."""
    if page["seen_by"] != "watch":
        return
    known, broken = (
        sum(day["ok"] + day["broken"] for day in days),
        sum(day["broken"] for day in days),
    )
    if not known:
        return
    today = _at(page["stamp"]["at"]).astimezone(UTC).date()
    bars: dict[str, str] = {}
    for day in days:
        place = HISTORY_DAYS - 1 - (today - datetime.fromisoformat(day["day"]).date()).days
        if day["ok"] or day["broken"]:
            share = day["broken"] / (day["ok"] + day["broken"])
            kind = "ok" if not share else "partly" if share < _PARTLY else "broken"
            bars[kind] = f"{bars.get(kind, '')}M{place} 0h.8v10h-.8z"
    paths = "".join(f'<path class="{kind}" d="{path}"/>' for kind, path in sorted(bars.items()))
    yield (
        f'<svg class="history" viewBox="0 0 {HISTORY_DAYS} 10" preserveAspectRatio="none" '
        f'aria-hidden="true">{paths}</svg>'
    )
    share, count = 100 * (known - broken) / known, len(days)
    # Rounded down: 100 % is said where nothing was seen.
    text = "100" if not broken else f"{min(int(share * 100) / 100, 99.99):g}"
    availability = f"{text} % of {'today' if count == 1 else f'{count} days'}"
    last = next((day for day in reversed(days) if day["broken"]), None)
    if last is not None:
        minutes = max(1, round(last["broken"] / 60))
        long = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
        availability += f"; last fault {escape(last['day'])}, {long}"
    yield f'<p class="past">Healthy {availability}</p>'


def _table(label: str, title: str, heads: Sequence[str], rows: Iterable[str]) -> Iterator[str]:
    columns = "".join(f'<th scope="col">{head}</th>' for head in heads)
    yield from (
        f'<section aria-labelledby="{label}">',
        f'<h2 id="{label}">{title}</h2>',
        "<table>",
        f"<thead><tr>{columns}</tr></thead>",
        "<tbody>",
        *rows,
        "</tbody>",
        "</table>",
        "</section>",
    )


def _row(name: str, cells: Sequence[tuple[str, str]]) -> str:
    inside = "\n".join(f'<td data-label="{label}">{cell}</td>' for label, cell in cells)
    return f'<tr>\n<th scope="row">{name}</th>\n{inside}\n</tr>'


def _certificates(page: Data) -> Iterator[str]:
    def row(served: Data) -> str:
        more = len(set(served["names"]) - {served["server_name"]})
        name = escape(served["server_name"]).replace(".", ".<wbr>")
        known = _until(served["not_after"], page) if served["not_after"] else "nothing is served"
        fault = "broken" if served["fault"] else "ok"
        return _row(
            f'{escape(served["holder"])}<wbr><span class="port">:{served["port"]}</span>',
            (
                (
                    "For",
                    f"<div>{name}"
                    + (f' <span class="more">and {more} more</span>' if more else "")
                    + "</div>",
                ),
                ("Issued by", f"<div>{escape(served['issuer'] or 'unknown')}</div>"),
                ("Valid until", f"<div>{known}</div>"),
                ("Verified", _state(fault, escape(served["fault"] or "Yes"))),
            ),
        )

    def held(certificate: Data) -> str:
        fault = _at(certificate["not_after"]) <= _at(page["stamp"]["at"])
        return _row(
            escape(certificate["holder"]),
            (
                ("Certificate", f"<div>{escape(certificate['name'])}</div>"),
                ("Valid until", f"<div>{_until(certificate['not_after'], page)}</div>"),
                ("Valid", _state("broken" if fault else "ok", "No" if fault else "Yes")),
            ),
        )

    if page["seen_by"] == "watch":
        of_holders = ("Held by", "Certificate", "Valid until", "Valid")
        yield from _table("certificates", "Certificates", of_holders, map(held, page["held"]))
    else:
        heads = ("Served by", "For", "Issued by", "Valid until", "Verified")
        yield from _table("certificates", "Certificates", heads, map(row, page["certificates"]))


def _machines(page: Data) -> Iterator[str]:
    def row(host: Data) -> str:
        health = host["health"]
        return _row(
            escape(host["name"]),
            (
                ("Address", f"<div>{escape(host['address'])}</div>"),
                ("Role", f"<div>{escape(', '.join(host['roles']) or 'none')}</div>"),
                ("Its own checks", _state(health["state"], _words(health))),
            ),
        )

    heads = ("Name", "Address", "Role", "Its own checks")
    yield from _table("machines", "Machines", heads, map(row, page["hosts"]))


def _footer(page: Data) -> Iterator[str]:
    stamp, revision = page["stamp"], page["revision"]
    yield "<footer>"
    if page["seen_by"] == "watch":
        last = page["last_deploy"]
        if last is not None:
            code = (
                f", revision <code>{escape(last['commit'][:12])}</code>" if last["commit"] else ""
            )
            how = "" if last["result"] == "ok" else f" ({escape(last['result'])})"
            yield f"<p>Last run {_time(last['ended'])} by {escape(last['by'])}{code}{how}.</p>"
    else:
        line = f"<p>Last converged {_time(stamp['at'])}"
        if stamp["by"]:
            dirty = " with local changes" if revision["dirty"] else ""
            code = (
                f"revision <code>{escape(revision['commit'][:12])}</code>{dirty}"
                if revision["commit"]
                else "no revision"
            )
            line += f" by {escape(stamp['by'])},\n{code}"
        yield f"{line}.\nA run soon after that finds the same leaves this page as it is.</p>"
    yield '<p>The same for programs: <a href="/home.json">home.json</a></p>'
    yield "</footer>"
