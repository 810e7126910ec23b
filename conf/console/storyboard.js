/*
 * The pictures of a seek bar: a WebVTT file whose cues are times and places in
 * sheets of small pictures.
 *
 *     00:00:10.000 --> 00:00:20.000
 *     storyboard-0.jpg#xywh=160,0,160,90
 */

const MOST = 100000;                /* cues; a broadcast of eleven days */

const TIMES = /^((?:\d+:)?[\d:]{5}\.\d{3})\s+-->\s+((?:\d+:)?[\d:]{5}\.\d{3})/;
const PLACE = /^(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)$/;


/* null: there is none */
export async function load(url, signal) {
    const response = await fetch(url, {signal});

    return response.ok ? new Storyboard(parse(await response.text(), url))
                       : null;
}


/* Cues in the order of their times; what is not one is left out. */
export function parse(text, url) {
    const lines = text.split(/\r?\n/);
    const cues = [];

    for (let i = 0; i + 1 < lines.length && cues.length < MOST; i++) {
        const times = TIMES.exec(lines[i]);
        const place = times && PLACE.exec(lines[i + 1].trim());

        if (place) {
            const [x, y, width, height] = place.slice(2).map(Number);

            cues.push({
                start: seconds(times[1]), end: seconds(times[2]),
                url: new URL(place[1], url).href, x, y, width, height,
            });
        }
    }

    return cues.sort((a, b) => a.start - b.start);
}


function seconds(text) {
    return text.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}


class Storyboard {
    constructor(cues) {
        this.cues = cues;
    }

    /* the cue of that second, or the last one before it; undefined */
    at(time) {
        let low = 0;
        let high = this.cues.length;

        while (low < high) {
            const middle = (low + high) >> 1;

            if (this.cues[middle].start <= time) {
                low = middle + 1;

            } else {
                high = middle;
            }
        }

        return this.cues[Math.max(low - 1, 0)];
    }
}
