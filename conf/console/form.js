/*
 * The form that makes a stream, or changes one.  What is right is for the API
 * to say: its faults are shown at their fields.
 */

import * as api from "./api.js";
import {h, toast} from "./dom.js";
import {streams} from "./streams.js";


const OWNER = "livestream.owner";

const TIMING = [
    {name: "segment_duration", label: "Segment", unit: "seconds", hint: "6"},
    {name: "part_duration", label: "Part", unit: "seconds", hint: "0.5"},
    {name: "playlist_length", label: "Playlist", unit: "segments",
     hint: "10"},
];


/* stream is null for a new one; done(stream) is called with the answer */
export function form(stream, done) {
    const fields = makeFields(stream);
    const fault = h("p.fault", {role: "alert", hidden: true});
    const submit = h("button.button.primary", {type: "submit"},
                     stream ? "Save changes" : "Create stream");
    const back = stream ? "#/streams/" + encodeURIComponent(stream.id) : "#/";
    const timing = fields.filter((f) => f.setting);

    const root = h("form.form", {novalidate: true, autocomplete: "off"},
        fields.filter((f) => !f.setting).map((f) => f.root),
        h("details.group", {open: timing.some((f) => f.read() !== undefined)},
          h("summary", {}, "Timing",
            h("span", {}, "The server's defaults do for most streams")),
          h("div.columns", {}, timing.map((f) => f.root))),
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
        ...TIMING.map((t) => numberField(t, settings[t.name])),
    ];
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


function numberField({name, label, unit, hint}, value) {
    const input = h("input", {type: "text", inputmode: "decimal",
                              placeholder: hint});

    input.value = value ?? "";

    return field(name, label, input, unit, {
        setting: true,
        read() {
            const text = input.value.trim().replace(",", ".");

            if (text === "") {
                return undefined;
            }

            return Number.isFinite(Number(text)) ? Number(text) : text;
        },
    });
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
