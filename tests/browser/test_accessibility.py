"""Every widget in a real browser, audited by axe-core, photographed, and searched for what overlaps or is cut."""

from __future__ import annotations

import re

import gallery
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser.lab import NotebookPage

# CSS pixels across: a laptop; a projector; both when the page is magnified to 150 %; a desk
SCREENS = {"laptop": 1280, "projector": 1024, "laptop-150": 848, "projector-150": 683, "desk": 1920}
HIGHEST = {1280: 620, 1024: 900}  # pictures with their controls, so that all is seen at once
OUTPUT = ".jp-OutputArea-output"
# JupyterLab's own frame around an output is not ours to judge
FOREIGN = {"region", "landmark-one-main", "page-has-heading-one", "heading-order", "scrollable-region-focusable"}


@pytest.fixture(scope="module")
def book(lab, chrome):
    """All widgets below each other, opened once."""
    cells = [gallery.SETUP, *gallery.WIDGETS.values()]
    page = NotebookPage(chrome, lab, lab.notebook("gallery.ipynb", *cells), height=1600)
    page.run_all()
    assert page.cell_errors() == []
    # JupyterLab's body has no height, and hides what sticks out of it: axe would take all for invisible
    page.page.add_style_tag(content="body { height: 100vh; }")
    page.pause(600)  # names of controls are set half a second after the picture
    for i in range(len(gallery.WIDGETS)):
        page.page.evaluate(
            """(i) => { const cells = window.jupyterapp.shell.currentWidget.content.widgets;
                cells[i + 1].node.dataset.gallery = i; }""",
            i,
        )
    yield page
    page.close()


def output(book, name):
    """The output area of one widget."""
    return f"[data-gallery='{list(gallery.WIDGETS).index(name)}'] {OUTPUT}"


# What axe must find wherever it looks
BAD = """(selector) => { const bad = document.createElement('div'); bad.className = 'bad';
    bad.innerHTML = '<input type="text"><p style="color: #aaa; background: #fff">hardly legible</p>';
    document.querySelector(selector).append(bad); }"""


def violations(book, bad=()):
    """Serious and critical ones as lines of text: those of each widget under its name, and those of what is bad.

    One audit looks at all widgets: each begins with a walk through the whole of JupyterLab, which takes seconds.
    """
    for name in bad:
        book.page.evaluate(BAD, output(book, name))
    places = [[output(book, name)] for name in gallery.WIDGETS]
    # contrast is only judged where it can be seen: a screen on which everything can
    panel, last = book.page.locator(".jp-WindowedPanel-outer").first, book.page.locator(places[-1][0]).first
    panel.evaluate("(node) => node.scrollTo(0, 0)")
    end = "(node) => node.getBoundingClientRect().bottom"
    book.page.set_viewport_size({"width": 1280, "height": int(last.evaluate(end)) + 400})
    book.wait_until(lambda: last.evaluate(end) < panel.evaluate(end), "a tall screen")
    results = Axe().run(book.page, context={"include": places}, options={"resultTypes": ["violations"]})
    book.page.set_viewport_size({"width": 1280, "height": 1600})
    found, meant = ({name: [] for name in gallery.WIDGETS} for _ in range(2))
    for rule in results.response["violations"]:
        if rule["impact"] not in ("serious", "critical") or rule["id"] in FOREIGN:
            continue
        for node in rule["nodes"]:
            place, is_bad = book.page.locator(node["target"][0]).first.evaluate(
                "(node) => [node.closest('[data-gallery]').dataset.gallery, node.closest('.bad') !== null]"
            )
            line = f"{rule['impact']}: {rule['id']}: {rule['help']}"
            (meant if is_bad else found)[list(gallery.WIDGETS)[int(place)]].append(
                f"{line}\n    {node['html'][:200]}  {node['failureSummary']}"
            )
    book.page.evaluate("document.querySelectorAll('.bad').forEach((node) => node.remove())")
    return found, meant


@pytest.fixture(scope="module", params=["Light", "Dark"])
def audit(book, request):
    """What axe finds in the widgets, and in what is wrong on purpose in the first, in the last and between."""
    book.theme(f"JupyterLab {request.param}")
    names = list(gallery.WIDGETS)
    yield violations(book, [names[0], names[len(names) // 2], "ProgressPanel"])
    book.theme("JupyterLab Light")


@pytest.mark.parametrize("name", gallery.WIDGETS)
def test_axe_finds_nothing_serious(audit, name):
    found, _ = audit
    assert not found[name], "\n".join(found[name])


def test_axe_would_find_something(audit):
    """An audit of nothing, or by a script that did not load, or of what is in sight alone, finds nothing either."""
    meant = {name: "\n".join(lines) for name, lines in audit[1].items() if lines}
    assert len(meant) == 3
    for name, lines in meant.items():
        assert "label" in lines, name
        assert "color-contrast" in lines, name


@pytest.fixture(scope="module", params=SCREENS)
def screen(book, request):
    book.page.set_viewport_size({"width": SCREENS[request.param], "height": 2600})
    book.pause(700)
    yield request.param
    book.page.set_viewport_size({"width": 1280, "height": 2600})


# What sticks out of its output, what text is cut off, and which texts lie on each other.
LAYOUT = """(root) => {
    const place = root.getBoundingClientRect();
    const shown = (node) => node.getClientRects().length && getComputedStyle(node).visibility !== 'hidden'
        && !node.matches('.noUi-origin') // an empty box that moves with its handle
        && !node.closest('.qviz-heard, .qviz-wires, .qviz-tables, .jp-RenderedHTMLCommon svg');
    const name = (node) =>
        `${node.tagName} ${node.className?.baseVal ?? node.className}: ${(node.textContent || '').slice(0, 60)}`;
    const nodes = [...root.querySelectorAll('*')].filter(shown);
    const leaves = nodes.filter(
        (node) => node.children.length === 0 && node.textContent.trim() && !node.closest('option, svg'));
    const problems = [];
    for (const node of nodes) {
        const box = node.getBoundingClientRect();
        if (box.right > place.right + 1.5 || box.left < place.left - 1.5) problems.push(`sticks out: ${name(node)}`);
        const panel = node.matches('canvas') && node.closest('.qviz-panel')?.getBoundingClientRect();
        if (panel && (box.right > panel.right + 1 || box.bottom > panel.bottom + 1 || box.width < 20))
            problems.push(`not whole in its panel: ${name(node)}`);
    }
    if (root.scrollWidth > root.clientWidth + 1) problems.push('wider than its place');
    for (const node of root.querySelectorAll('.qviz-cell > *')) // of what is cut at both ends nothing scrolls
        if (shown(node) && node.offsetWidth > node.parentNode.clientWidth + 2) problems.push(`cut: ${name(node)}`);
    for (const node of root.querySelectorAll('.qviz-caption')) // the rest is on hover: not for those who use keys
        if (window.innerWidth >= 1280 && node.scrollHeight > node.clientHeight + 1) problems.push(`cut: ${name(node)}`);
    for (const node of leaves) {
        const style = getComputedStyle(node);
        if (style.display !== 'inline' && node.scrollWidth > node.clientWidth + 1 && style.overflowX !== 'visible')
            problems.push(`cut: ${name(node)}`);
        if (parseFloat(style.fontSize) < 11) problems.push(`small print, ${style.fontSize}: ${name(node)}`);
    }
    const scrolled = (node) => {
        for (let up = node.parentElement; up && up !== root; up = up.parentElement) {
            const scrolls = ['auto', 'scroll'].includes(getComputedStyle(up).overflowY);
            if (scrolls && up.scrollHeight > up.clientHeight + 1) return up.getBoundingClientRect();
        }
    };
    const boxes = leaves.map((node) => {
        const range = document.createRange();
        range.selectNodeContents(node);
        const end = getComputedStyle(node).overflowY === 'hidden' ? node.getBoundingClientRect().bottom : Infinity;
        const frame = scrolled(node);
        const seen = (box) => box.top < end // what is cut off, or scrolled away, is not seen
            && (!frame || ((box.top + box.bottom) / 2 > frame.top && (box.top + box.bottom) / 2 < frame.bottom));
        return [node, [...range.getClientRects()].filter(seen)];
    });
    for (let i = 0; i < boxes.length && problems.length < 12; i++)
        for (let j = i + 1; j < boxes.length; j++)
            for (const a of boxes[i][1]) for (const b of boxes[j][1]) {
                const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                if (wide > 2 && high > 0.4 * Math.min(a.height, b.height))
                    problems.push(`on each other: ${name(boxes[i][0])} | ${name(boxes[j][0])}`);
            }
    return [...new Set(problems)];
}"""


@pytest.mark.parametrize("name", gallery.WIDGETS)
def test_nothing_overlaps_or_is_cut(book, screen, screenshots, name):
    node = book.page.locator(output(book, name)).first
    file = re.sub(r"\\W+", "-", name)
    node.screenshot(path=screenshots / f"widget-{file}-{screen}.png")
    assert node.evaluate(LAYOUT) == []


@pytest.mark.parametrize("width", HIGHEST)
def test_all_of_an_explorer_is_seen_at_once(book, width):
    book.page.set_viewport_size({"width": width, "height": 2600})
    book.pause(700)
    names = [name for name in gallery.WIDGETS if "Explorer" in name or "Museum" in name]
    high = {
        name: book.page.locator(output(book, name)).first.evaluate("(node) => node.getBoundingClientRect().height")
        for name in names
    }
    book.page.set_viewport_size({"width": 1280, "height": 2600})
    assert {name: tall for name, tall in high.items() if tall > HIGHEST[width]} == {}


def test_readouts_of_the_balance_never_wrap(book, screen):
    lines = """(root) => [...root.querySelectorAll('.qviz-name, .qviz-readout .qviz-value')].map((node) => {
        const range = document.createRange();
        range.selectNodeContents(node);
        return [node.textContent, new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size];
    })"""
    found = book.page.locator(output(book, "BalanceExplorer")).first.evaluate(lines)
    assert len(found) == 12
    assert [text for text, n in found if n != 1] == []


def test_the_search_would_find_an_overlap(book):
    place = book.page.locator(output(book, "ProgressPanel")).first
    place.evaluate(
        """(root) => {
            const bad = document.createElement('div');
            bad.id = 'bad';
            bad.style.position = 'relative';
            bad.innerHTML = '<span style="position: absolute; top: 0">one text</span>'
                + '<span style="position: absolute; top: 2px">another</span><div style="width: 3000px">wide</div>';
            root.append(bad);
        }"""
    )
    found = place.evaluate(LAYOUT)
    book.page.evaluate("document.getElementById('bad').remove()")
    assert any(line.startswith("on each other") for line in found)
    assert any(line.startswith("sticks out") for line in found)


def test_every_control_is_reached_and_shows_its_focus(book):
    """Tab goes through all controls in the order in which they stand, and each has a visible ring."""
    page, selector = book.page, output(book, "Prediction")
    page.locator(f"{selector} input").first.focus()
    seen = []
    for _ in range(12):
        seen.append(
            page.evaluate(
                """(selector) => { const node = document.activeElement;
                    const marked = [node, node.closest('label')].filter(Boolean).map((n) => getComputedStyle(n));
                    const name = node.name?.split('-').pop() || node.textContent || node.tagName;
                    return [node.closest(selector) !== null, name,
                        marked.some((s) => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 1.5)]; }""",
                selector,
            )
        )
        page.keyboard.press("Tab")
    inside = [(what, ring) for within, what, ring in seen if within]
    assert [what for what, _ in inside[:4]] == ["option", "sure", "Lock in my prediction", "Show me without predicting"]
    assert all(ring for _, ring in inside[:4])
    pages = ["Tensor by tensor", "Byte by byte"]
    assert inside[4][0] in ("CANVAS", *pages), "locked controls are passed over; the picture can still be read"


def test_what_answers_keys_is_not_called_an_image(book):
    """A screen reader keeps arrow keys to itself over an image."""
    roles = book.page.evaluate(
        "() => [...document.querySelectorAll('canvas[tabindex]')].map((n) => n.getAttribute('role'))"
    )
    assert len(roles) > 10
    assert set(roles) == {"application"}
