/*
 * The list at the side.  Rows are kept by id and changed in place.
 */

import {h, setAttr, setChildren, setText} from "./dom.js";
import {badge, setBadge, since, statusOf} from "./status.js";
import {streams} from "./streams.js";
import {Thumbnail} from "./thumbnail.js";


const rows = new Map();             /* id -> {root, ...} */
const list = document.getElementById("list");
const filter = document.getElementById("filter");

const groups = [
    {title: "On air", holds: (s) => statusOf(s).air},
    {title: "Off air", holds: (s) => !statusOf(s).air},
].map((group) => ({
    ...group,
    count: h("span.count"),
    rows: h("ul"),
})).map((group) => ({
    ...group,
    root: h("section", {}, h("h2", {}, group.title, group.count), group.rows),
}));

const empty = h("div.none", {}, h("p"));
const more = h("button.button.more", {
    type: "button",
    onclick: () => streams.showMore(),
}, "Show more");

let selected = null;


export function select(id) {
    selected = id;
    draw();
}


export function draw() {
    const words = filter.value.trim().toLowerCase().split(/\s+/);
    const all = [...streams.all.values()];
    const shown = all.filter((stream) => {
        const text = [stream.title, stream.user_id, stream.id, stream.status]
            .join(" ").toLowerCase();

        return words.every((word) => text.includes(word));
    });

    const parts = [];

    for (const group of groups) {
        const mine = shown.filter(group.holds);

        setText(group.count, String(mine.length));
        setChildren(group.rows, mine.map(row));

        if (mine.length) {
            parts.push(group.root);
        }
    }

    if (!streams.loaded) {
        parts.push(...(streams.problem ? [] : skeleton));

    } else if (!shown.length) {
        setText(empty.firstChild, all.length
            ? "No stream matches the filter."
            : "There is no stream yet. Make the first one: it takes a title "
              + "and an owner.");
        parts.push(empty);
    }

    if (streams.more) {
        parts.push(more);
    }

    setChildren(list, parts);
    list.classList.toggle("stale", Boolean(streams.problem));
    forget();
}


const skeleton = [1, 2, 3].map(() =>
    h("div.skeleton", {"aria-hidden": "true"}, h("i"), h("i")));


function forget() {
    for (const [id, r] of rows) {
        if (!streams.all.has(id)) {
            r.thumbnail.destroy();
            rows.delete(id);
        }
    }
}


function row(stream) {
    let r = rows.get(stream.id);

    if (!r) {
        r = {
            thumbnail: new Thumbnail(stream.id),
            badge: badge(),
            title: h("span.title"),
            user: h("span.user"),
            time: h("span.time"),
            low: h("span.low", {title: "Low latency"}, "LL"),
        };
        r.link = h("a", {href: "#/streams/" + encodeURIComponent(stream.id)},
                   r.thumbnail.root, r.title, r.badge,
                   h("span.meta", {}, r.user, r.time, r.low));
        r.root = h("li", {}, r.link);
        rows.set(stream.id, r);
    }

    setText(r.title, stream.title || "Untitled");
    setText(r.user, stream.user_id || "");
    setText(r.time, since(stream));
    setBadge(r.badge, stream);
    r.low.hidden = !stream.low_latency;
    r.root.classList.toggle("air", Boolean(statusOf(stream).air));
    setAttr(r.link, "aria-current", stream.id === selected ? "page" : null);

    return r.root;
}


filter.addEventListener("input", draw);

document.addEventListener("keydown", (e) => {
    const typing = e.target.closest?.("input, textarea, select, dialog");

    if (e.key === "/" && !typing && !e.ctrlKey && !e.metaKey && !e.altKey) {
        e.preventDefault();
        filter.focus();
        filter.select();
    }

    if (e.key === "Escape" && e.target === filter) {
        filter.value = "";
        draw();
    }
});

/* the running times */
setInterval(() => document.hidden || draw(), 1000);
