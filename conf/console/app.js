/*
 * The console's entry: routes by the hash, keeps list, banner and page in
 * step with the streams.
 *
 *     #/                  the list (and, on a wide screen, a summary)
 *     #/new               the form
 *     #/streams/ID        the player
 *     #/streams/ID/edit   the form
 *     #/streams/ID/recordings/RID     one of its recordings
 */

import * as api from "./api.js";
import {Detail} from "./detail.js";
import {h, icon, setText} from "./dom.js";
import {form, withoutKey} from "./form.js";
import * as list from "./list.js";
import {RecordingPage} from "./recording.js";
import {reveal} from "./publish.js";
import {statusOf} from "./status.js";
import {streams} from "./streams.js";


const main = document.getElementById("main");
const shell = document.getElementById("shell");
const banner = document.getElementById("banner");
const summary = document.getElementById("summary");

let page = null;                /* {update?(), destroy?()} */


function route() {
    const [, what, id, action, rid] = location.hash.split("/").map(decode);

    if (location.hash !== "" && !location.hash.startsWith("#/")) {
        return;
    }

    page?.destroy?.();
    page = null;
    main.replaceChildren();
    list.select(what === "streams" ? id : null);
    shell.dataset.page = what || "home";

    if (what === "new") {
        newPage();

    } else if (what === "streams" && id) {
        streamPage(id, action, rid);

    } else {
        homePage();
    }

    scrollTo(0, 0);
}


function decode(text) {
    try {
        return decodeURIComponent(text);
    } catch {
        return text;
    }
}


function title(text) {
    document.title = text ? text + " · Live streams" : "Live streams";
}


function sheet(heading, lead, back, ...content) {
    return h("div.sheet", {},
        h("header.head", {},
          h("a.back", {href: back, "aria-label": "Back"}, icon("back")),
          h("div", {}, h("h1", {}, heading), lead && h("p.lead", {}, lead))),
        ...content);
}


function newPage() {
    title("New stream");
    main.append(sheet("New stream",
        "You get a key and an RTMP URL to publish to.", "#/",
        form(null, (stream) => {
            reveal(stream.id, stream.rtmp_ingest_url);
            location.hash = "#/streams/" + encodeURIComponent(stream.id);
        })));
    main.querySelector("input").focus();
}


function homePage() {
    const counts = h("div.counts");
    const text = h("p.lead");
    const root = h("div.home", {},
        h("div.parts", {"aria-hidden": "true"},
          Array.from({length: 12}, () => h("i"))),
        h("h1", {}, "Live streams"), text, counts);

    title("");
    main.append(root);

    page = {
        update() {
            const all = [...streams.all.values()];
            const n = (status) => all.filter((s) => s.status === status).length;

            root.hidden = !streams.loaded;
            setText(text, all.length
                ? "Choose a stream to watch it and to see how far behind the "
                  + "publisher it plays."
                : "Make a stream, publish to its RTMP URL with OBS or ffmpeg, "
                  + "and watch it here about two seconds later.");
            counts.replaceChildren(...(all.length
                ? ["live", "interrupted", "error"].map((status) =>
                    h("div", {"data-status": status, class: n(status)
                              ? "some" : "zero"},
                      h("b", {}, String(n(status))),
                      statusOf({status}).label.toLowerCase()))
                : [h("a.button.primary", {href: "#/new"},
                     "Make the first stream")]));
        },
    };

    page.update();
}


/* The list may not have the stream: then it is asked for by itself. */
async function streamPage(id, action, rid) {
    const mine = page = {};
    let stream = streams.get(id);

    title("");

    if (!stream) {
        main.append(h("div.loading", {"aria-label": "Loading"}));

        try {
            stream = await api.get(id);

        } catch (e) {
            if (page === mine) {
                missing(e);
            }

            return;
        }

        if (page !== mine) {
            return;
        }

        stream = withoutKeyUrl(stream);
        main.replaceChildren();
    }

    title(stream.title);

    if (action === "edit") {
        const back = "#/streams/" + encodeURIComponent(id);

        main.append(sheet("Edit stream",
            "Timing and encoding change with the next broadcast.", back,
            form(stream, () => { location.hash = back; })));
        return;
    }

    if (action === "recordings" && rid) {
        recordingPage(stream, rid);
        return;
    }

    const detail = new Detail(stream);

    main.append(detail.root);
    page = {
        update() {
            const newer = streams.get(id);

            if (newer) {
                detail.update(newer);
                title(newer.title);
            }
        },
        destroy: () => detail.destroy(),
    };
}


async function recordingPage(stream, rid) {
    const mine = page = {};
    let recording;

    try {
        recording = await api.getRecording(stream.id, rid);

    } catch (e) {
        if (page === mine) {
            missing(e, "recording", "#/streams/"
                                    + encodeURIComponent(stream.id));
        }

        return;
    }

    if (page === mine) {
        const view = new RecordingPage(stream, recording);

        title("Recording of " + stream.title);
        main.append(view.root);
        page = {destroy: () => view.destroy()};
    }
}


/* get and list have rtmp_ingest_url without the key: that one may stay */
function withoutKeyUrl(stream) {
    return {...withoutKey(stream), rtmp_ingest_url: stream.rtmp_ingest_url};
}


function missing(problem, what = "stream", back = "#/") {
    title("Not found");
    main.replaceChildren(h("div.sheet", {},
        h("h1", {}, problem.status === 404 ? "There is no such " + what
                                           : problem.title),
        h("p.lead", {}, problem.status === 404
            ? "It may have been deleted." : problem.message),
        h("a.button", {href: back}, back === "#/" ? "All streams"
                                                  : "Back to the stream")));
}


/* the banner while the API is away */

function drawBanner() {
    const {problem} = streams;

    banner.hidden = !problem;
    document.body.classList.toggle("away", Boolean(problem));

    if (!problem) {
        return;
    }

    const wait = Math.max(0, Math.ceil((streams.retryAt - Date.now()) / 1000));

    if (!banner.firstChild) {
        banner.append(h("p"),
            h("span", {"aria-hidden": "true"}),
            h("button.button.small", {
                type: "button", onclick: () => streams.refresh(),
            }, "Try now"));
    }

    setText(banner.children[0], problem.message
        + (streams.loaded ? " What you see may be old." : ""));
    setText(banner.children[1], wait ? "Next try in " + wait + " s" : "…");
}


/* the figures in the page's head */

function drawSummary() {
    const all = [...streams.all.values()];
    const live = all.filter((s) => s.status === "live").length;

    setText(summary, streams.loaded && all.length
        ? live + " live · " + all.length + (streams.more ? "+" : "")
          + (all.length === 1 ? " stream" : " streams") : "");
    summary.classList.toggle("on", live > 0);
    shell.classList.toggle("empty", streams.loaded && !all.length);
}


streams.addEventListener("change", () => {
    list.draw();
    drawSummary();
    page?.update?.();
});

streams.addEventListener("problem", () => {
    list.draw();
    drawBanner();
});

setInterval(() => streams.problem && drawBanner(), 1000);

document.querySelector(".skip").addEventListener("click", (e) => {
    e.preventDefault();
    main.focus();
});

addEventListener("hashchange", route);
list.draw();
route();
streams.refresh();
