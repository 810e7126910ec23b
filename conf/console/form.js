/*
 * The form that makes a stream, or changes one.  What is right is for the API
 * to say: its faults are shown at their fields.
 */

import * as api from "./api.js";
import {h, toast} from "./dom.js";
import {span} from "./status.js";
import {streams} from "./streams.js";


const OWNER = "livestream.owner";

const SERVER = ["Server's default", undefined];
const SWITCH = [SERVER, ["On", true], ["Off", false]];

const WINDOWS = [600, 1800, 3600, 7200, 14400, 28800, 86400];

const GROUPS = [
    ["Timing", "The server's defaults do for most streams", [
        {name: "segment_duration", label: "Segment", hint: "seconds",
         empty: "6", make: numberField},
        {name: "part_duration", label: "Part", hint: "seconds",
         empty: "0.5", make: numberField},
        {name: "playlist_length", label: "Playlist", hint: "segments",
         empty: "10", make: numberField},
    ]],
    ["Encoding", "A ladder, for viewers whose networks differ", [
        {name: "enable_transcoding", label: "Transcoding",
         hint: "into several levels", options: SWITCH, make: choiceField},
        {name: "codec", label: "Codec", hint: "of the picture",
         options: [SERVER, ["H.264", "h264"], ["H.265", "h265"],
                   ["VP9", "vp9"]], make: choiceField},
        {name: "gpu_acceleration", label: "GPU", hint: "where there is one",
         options: SWITCH, make: choiceField},
        {name: "resolutions", label: "Rungs", wide: true,
         hint: "By name, such as 720p 360p; those above the source are left "
               + "out", empty: "All that the server has", make: namesField},
        {name: "audio_codec", label: "Audio codec", hint: "of all levels",
         options: [SERVER, ["AAC", "aac"], ["Opus", "opus"]],
         make: choiceField},
        {name: "audio_bitrate", label: "Audio bitrate", hint: "kbit/s",
         empty: "128", make: numberField},
        {name: "keyframe_interval", label: "Key frames",
         hint: "seconds apart", empty: "2", make: numberField},
    ]],
];


/* stream is null for a new one; done(stream) is called with the answer */
export function form(stream, done) {
    const fields = makeFields(stream);
    const fault = h("p.fault", {role: "alert", hidden: true});
    const submit = h("button.button.primary", {type: "submit"},
                     stream ? "Save changes" : "Create stream");
    const back = stream ? "#/streams/" + encodeURIComponent(stream.id) : "#/";

    const root = h("form.form", {novalidate: true, autocomplete: "off"},
        fields.filter((f) => !f.setting).map((f) => f.root),
        GROUPS.map(([title, lead]) =>
            group(title, lead, fields.filter((f) => f.setting === title))),
        fault,
        h("div.actions", {}, submit, h("a.button", {href: back}, "Cancel")));

    root.addEventListener("submit", async (e) => {
        e.preventDefault();
        submit.disabled = true;
        clear(fields, fault);

        try {
            const answer = stream
                ? await api.patch(stream.id, body(fields, stream))
                : await api.create(body(fields, null));

            remember(fields);
            streams.put(withoutKey(answer));
            streams.refresh();
            done(answer);

        } catch (e) {
            show(e, fields, fault, root);

        } finally {
            submit.disabled = false;
        }
    });

    return root;
}


/* open where something is set */
function group(title, lead, fields) {
    return h("details.group", {
        open: fields.some((f) => f.read() !== undefined),
    }, h("summary", {}, title, h("span", {}, lead)),
       h("div.columns", {}, fields.map((f) => f.root)));
}


/* The key is shown once and not kept with what the list knows. */
export function withoutKey({stream_key, rtmp_ingest_url, ...rest}) {
    return rest;
}


function makeFields(stream) {
    const settings = stream?.settings || {};

    return [
        textField("title", "Title", stream?.title, {
            hint: "What viewers and the list call it", maxlength: 255}),
        textField("user_id", "Owner", stream ? stream.user_id : owner(), {
            hint: "The user's id in your system", maxlength: 100,
            fixed: Boolean(stream)}),
        textField("description", "Description", stream?.description, {
            hint: "Optional", area: true}),
        switchField("low_latency", "Low latency",
            "About two seconds behind the publisher instead of about twenty",
            stream ? Boolean(stream.low_latency) : true),
        switchField("dvr_enabled", "Rewind and record",
            "Viewers can go back while it is live, and each broadcast is kept",
            Boolean(stream?.dvr_enabled)),
        choiceField({
            name: "dvr_window", label: "Rewind up to",
            hint: "While it is live", options: windows(stream?.dvr_window),
        }, stream?.dvr_window),
        ...GROUPS.flatMap(([setting, , list]) => list.map((s) =>
            ({...s.make(s, settings[s.name]), setting}))),
    ];
}


/* the window has a value once the stream is there */
function windows(value) {
    const all = value === undefined || WINDOWS.includes(value)
                ? WINDOWS : [...WINDOWS, value].sort((a, b) => a - b);

    return [...(value === undefined ? [SERVER] : []),
            ...all.map((s) => [span(s), s])];
}


function owner() {
    try {
        return localStorage.getItem(OWNER) || "";
    } catch {
        return "";
    }
}


function remember(fields) {
    try {
        localStorage.setItem(OWNER,
            fields.find((f) => f.name === "user_id").read());
    } catch {
        /* a browser that keeps nothing */
    }
}


function field(name, label, input, hint, more) {
    const id = "f-" + name;
    const fault = h("p.fault", {id: id + "-fault", hidden: true});

    input.id = id;
    input.name = name;
    input.setAttribute("aria-describedby", id + "-hint " + id + "-fault");

    return {
        name, input, fault,
        root: h("div.field", {}, h("label", {for: id}, label), input,
                h("p.hint", {id: id + "-hint"}, hint), fault),
        ...more,
    };
}


function textField(name, label, value, {hint, area, maxlength, fixed}) {
    const input = area ? h("textarea", {rows: 2})
                       : h("input", {type: "text", maxlength,
                                     spellcheck: "false"});

    input.value = value ?? "";
    input.readOnly = Boolean(fixed);

    return field(name, label, input, hint, {
        fixed, read: () => input.value.trim(),
    });
}


function switchField(name, label, hint, value) {
    const input = h("input", {type: "checkbox", role: "switch"});
    const f = field(name, label, input, hint, {read: () => input.checked});

    input.checked = value;
    f.root.classList.add("switch");

    return f;
}


/* Those that read undefined leave the setting to the server. */

function numberField({name, label, hint, empty}, value) {
    const input = h("input", {type: "text", inputmode: "decimal",
                              placeholder: empty});

    input.value = value ?? "";

    return field(name, label, input, hint, {
        read() {
            const text = input.value.trim().replace(",", ".");

            if (text === "") {
                return undefined;
            }

            return Number.isFinite(Number(text)) ? Number(text) : text;
        },
    });
}


/* options: [[text, value], ...].  A value that is not among them was set by
 * somebody else and is kept. */
function choiceField({name, label, hint, options}, value) {
    const all = options.some(([, known]) => known === value)
                ? options : [...options, [String(value), value]];
    const input = h("select", {}, all.map(([text]) => h("option", {}, text)));

    input.selectedIndex = all.findIndex(([, known]) => known === value);

    return field(name, label, input, hint, {
        read: () => all[input.selectedIndex][1],
    });
}


function namesField({name, label, hint, empty, wide}, value) {
    const input = h("input", {type: "text", spellcheck: "false",
                              autocapitalize: "none", placeholder: empty});
    const f = field(name, label, input, hint, {
        read() {
            const names = input.value.split(/[\s,]+/).filter(Boolean);

            return names.length ? names : undefined;
        },
    });

    input.value = (value ?? []).join(" ");
    f.root.classList.toggle("wide", wide);

    return f;
}


/* PATCH merges settings: those that this form does not know stay as they are,
 * null takes one away. */
function body(fields, stream) {
    const answer = {settings: {}};

    for (const f of fields) {
        const value = f.read();

        if (f.fixed || (f.name === "description" && !value && !stream)) {
            continue;
        }

        if (!f.setting) {
            answer[f.name] = value;

        } else if (value !== undefined) {
            answer.settings[f.name] = value;

        } else if (stream?.settings && f.name in stream.settings) {
            answer.settings[f.name] = null;
        }
    }

    return answer;
}


function clear(fields, fault) {
    fault.hidden = true;

    for (const f of fields) {
        f.fault.hidden = true;
        f.input.removeAttribute("aria-invalid");
    }
}


function show(problem, fields, fault, root) {
    const left = new Map(problem.fields);
    let first = null;

    for (const f of fields) {
        const name = f.setting ? "settings." + f.name : f.name;
        const text = left.get(name) ?? left.get(f.name);

        if (text === undefined) {
            continue;
        }

        left.delete(name);
        left.delete(f.name);
        f.fault.textContent = text;
        f.fault.hidden = false;
        f.input.setAttribute("aria-invalid", "true");
        first ??= f;
    }

    if (first) {
        first.input.closest("details")?.setAttribute("open", "");
        first.input.focus();
    }

    if (!first || left.size) {
        fault.textContent = left.size
            ? [...left].map(([name, text]) => name + ": " + text).join("; ")
            : problem.message;
        fault.hidden = false;
    }

    if (!root.isConnected) {
        toast(problem.message);
    }
}
