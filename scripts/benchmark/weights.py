"""The figures and tables of the histories: bytes, growth, the hot tier."""

from scripts.benchmark import targets
from scripts.benchmark.corpus import Chat
from scripts.benchmark.density import Density
from scripts.benchmark.figures import Figure, Findings, Sample, Table, Target
from scripts.benchmark.growth import Growth
from scripts.benchmark.history import Histories, Shapes
from scripts.benchmark.hot_tier import HotTier
from scripts.benchmark.plot import Bar, Plot

WEIGHED: dict[str, tuple[str, Target]] = {
    "100": ("100 messages a session", targets.BYTES_100),
    "random": ("1 to 199 messages a session", targets.BYTES_RANDOM),
    "10,000": ("10,000 messages a session", targets.BYTES_10000),
    "5": ("5 messages a session", targets.BYTES_5),
}


def history_findings(wanted: Shapes, found: Histories, chat: Chat) -> Findings:
    """Make the figures and tables of it."""
    figures = [
        Figure(
            name=f"bytes in Redis / list of JSON: {words}",
            values=[found.densities[wanted.weighed[key].name].ratio],
            unit="x",
            target=target,
        )
        for key, (words, target) in WEIGHED.items()
    ]
    single = found.densities[wanted.weighed["1"].name]
    one_bytes = single.ours.idle / len(single.shape.lengths)
    figures.append(
        Figure(
            name="a session of 1 message: bytes in Redis",
            values=[one_bytes],
            unit="B",
            target=targets.ONE_MESSAGE_BYTES,
        )
    )
    return Findings(
        figures=[*figures, *hot_figures(found.hot)],
        tables=[density_table(found), *growth_tables(wanted, found)],
        plots=[growth_plot(wanted, found)],
        model=_model(wanted, found, chat),
    )


def hot_figures(hot: HotTier) -> list[Figure]:
    """Hold the hot tier against dicts: its own count, and what the process grew by."""
    pairs = (
        ("bytes of the hot tier / Python dicts", hot.tier_bytes, targets.HOT_TIER_DICTS),
        ("growth of RSS with the hot tier filled / Python dicts", hot.rss_growth, None),
    )
    return [
        Figure(name=name, values=[value / hot.dict_bytes], unit="x", target=target)
        for name, value, target in pairs
    ]


def density_table(found: Histories) -> Table:
    """Bytes of each shape."""
    rows = [
        (
            name,
            f"{it.lists / it.shape.messages:.1f}",
            f"{it.ours.at_once / it.shape.messages:.1f}",
            f"{it.ours.idle / it.shape.messages:.1f}",
            f"{it.ours.at_once / it.lists:.3f}",
            f"{it.ratio:.3f}",
            f"{it.ours.idle / len(it.shape.lengths):,.0f}",
        )
        for name, it in found.densities.items()
    ]
    return Table(
        title="Bytes in Redis",
        columns=(
            "sessions x messages",
            "list of JSON, B a message",
            "ours at once, B a message",
            "ours when idle",
            "ratio at once",
            "ratio when idle",
            "B a session",
        ),
        rows=rows,
        note="`used_memory` less that of the empty server; appended in calls of 1 to 10 messages.",
    )


def growth_tables(wanted: Shapes, found: Histories) -> list[Table]:
    """One table: more sessions, then longer histories."""
    rows = [
        _growth_row(found.growths[shape.name], found.densities[shape.name])
        for shape in (*wanted.sessions, *wanted.histories[1:])
    ]
    columns = (
        "sessions x messages",
        "append: requests/s",
        "CPU us",
        "Redis CPU us",
        "read 50 hot: requests/s",
        "CPU us",
        "Redis CPU us",
        "read 50 cold: CPU us",
        "Redis CPU us",
        "B a message in Redis",
    )
    return [Table(title="How cost grows", columns=columns, rows=rows, note="At 32 connections.")]


def growth_plot(wanted: Shapes, found: Histories) -> Plot:
    """CPU of the service for a call, by shape."""
    growths = [found.growths[it.name] for it in (*wanted.sessions, *wanted.histories[1:])]
    measured = (
        *(("append 1", it.shape, it.append) for it in growths),
        *(("read 50 hot", it.shape, it.hot) for it in growths),
        *(("read 50 cold", it.shape, it.cold) for it in growths),
    )
    bars = [
        Bar(
            label=f"{words}, {shape.name}",
            value=sample.service_cpu_us,
            low=sample.service_cpu_us,
            high=sample.service_cpu_us,
        )
        for words, shape, sample in measured
    ]
    title = "CPU of the service for a call, us, by sessions x messages"
    return Plot(name="growth", title=title, bars=bars)


def _growth_row(growth: Growth, density: Density) -> tuple[str, ...]:
    def cpu(sample: Sample) -> tuple[str, str]:
        return f"{sample.service_cpu_us:.0f}", f"{sample.redis_cpu_us:.1f}"

    return (
        growth.shape.name,
        f"{growth.append.load.per_second:,.0f}",
        *cpu(growth.append),
        f"{growth.hot.load.per_second:,.0f}",
        *cpu(growth.hot),
        *cpu(growth.cold),
        f"{density.ours.idle / density.shape.messages:.1f}",
    )


def _model(wanted: Shapes, found: Histories, chat: Chat) -> dict[str, float]:
    """Bytes of a session by its length, in Redis and in the process, for scripts/capacity."""
    model = {}
    for key in ("1", "5", "100", "10,000"):
        it = found.densities[wanted.weighed[key].name]
        number = key.replace(",", "")
        model[f"session.{number}.bytes"] = it.ours.idle / len(it.shape.lengths)
    model["hot.session_bytes"] = found.hot.tier_bytes / found.hot.sessions
    model["hot.session_messages"] = 100
    model["chat.message_bytes"] = chat.bytes_per_line
    model["service.rss_bytes"] = found.hot.rss_empty
    return model
