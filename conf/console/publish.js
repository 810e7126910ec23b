/*
 * How to publish: with the key just after it was made, without it later.
 */

import {copyButton, h, icon} from "./dom.js";


/* id -> rtmp_ingest_url with the key.  Kept until the operator puts it away;
 * never written anywhere. */
const shown = new Map();


export function reveal(id, url) {
    shown.set(id, url);
}


export function forget(id) {
    shown.delete(id);
}


/* "rtmp://host/live/sk_x" -> ["rtmp://host/live", "sk_x"] */
function split(url) {
    const at = url.lastIndexOf("/");

    return [url.slice(0, at), url.slice(at + 1)];
}


function quote(text) {
    return "'" + text.replaceAll("'", "'\\''") + "'";
}


function line(label, value) {
    return h("div.copyline", {}, h("span.label", {}, label),
             h("code", {}, value), copyButton(value, label));
}


function command(url) {
    return [
        "ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 \\",
        "  -f lavfi -i sine=frequency=440:sample_rate=48000 \\",
        "  -c:v libx264 -preset veryfast -tune zerolatency \\",
        "  -pix_fmt yuv420p -b:v 2500k -g 30 -c:a aac -b:a 128k \\",
        "  -f flv " + quote(url),
    ].join("\n");
}


/* The card with the key, or null when it is not known (any more). */
export function keyCard(id, putAway) {
    const url = shown.get(id);

    if (!url) {
        return null;
    }

    const [server, key] = split(url);
    const text = command(url);

    return h("section.card.reveal", {"aria-labelledby": "reveal-title"},
        h("header", {}, icon("key"),
          h("h2", {id: "reveal-title"}, "Publish with this key"),
          h("button.button.quiet", {
              type: "button",
              onclick: () => { forget(id); putAway(); },
          }, "Done")),
        h("p.lead", {}, "This is the only time that the key is shown. "
                        + "Whoever has it can publish to this stream."),
        line("Server", server),
        line("Stream key", key),
        line("RTMP URL", url),
        h("div.hints", {},
          h("section", {}, h("h3", {}, "OBS Studio"),
            h("ol", {},
              h("li", {}, "Settings → Stream → Service: Custom. Paste the "
                          + "server and the stream key."),
              h("li", {}, "Settings → Output → Advanced: keyframe interval "
                          + "1 or 2 s, tune zerolatency."),
              h("li", {}, "Start streaming."))),
          h("section", {}, h("h3", {}, "ffmpeg, a test picture"),
            h("div.code", {}, h("pre", {tabindex: "0"}, text),
              copyButton(text, "Command")))));
}


/* rtmp_ingest_url as get and list have it: without the key */
export function publishCard(stream, newKey) {
    return h("section.card", {},
        h("h2", {}, "Publish"),
        stream.rtmp_ingest_url && line("Server", stream.rtmp_ingest_url),
        h("div.copyline", {}, h("span.label", {}, "Stream key"),
          h("span.muted", {}, "shown once, when it is made"),
          h("button.button.small", {type: "button", onclick: newKey},
            icon("key"), "New key")));
}
