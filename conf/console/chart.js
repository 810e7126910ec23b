/*
 * The line of latency over the last minute, drawn as SVG that takes its
 * colours from the style sheet.
 *
 *     samples: [{t, v, target}, ...]  t in ms, v and target in s or null
 */

const NS = "http://www.w3.org/2000/svg";
const SPAN = 60000;
const SCALES = [[4, 1], [6, 2], [8, 2], [12, 4], [20, 5], [40, 10], [60, 20]];
const PAD = {left: 30, right: 6, top: 8, bottom: 18};


function svg(tag, attrs, parent) {
    const node = document.createElementNS(NS, tag);

    for (const [name, value] of Object.entries(attrs)) {
        node.setAttribute(name, value);
    }

    parent?.append(node);

    return node;
}


export class Chart {
    constructor(parent) {
        this.samples = [];
        this.root = svg("svg", {class: "chart", role: "img"}, parent);
        this.grid = svg("g", {class: "grid"}, this.root);
        this.area = svg("path", {class: "area"}, this.root);
        this.target = svg("path", {class: "target"}, this.root);
        this.line = svg("path", {class: "line"}, this.root);
        this.dot = svg("circle", {class: "dot", r: 3.5}, this.root);
        this.observer = new ResizeObserver(() => this.draw());
        this.observer.observe(this.root);
    }

    destroy() {
        this.observer.disconnect();
    }

    add(v, target) {
        const t = performance.now();

        this.samples.push({t, v, target});

        while (this.samples[0].t < t - SPAN - 2000) {
            this.samples.shift();
        }

        this.draw();
    }

    draw() {
        const {width, height} = this.root.getBoundingClientRect();

        if (width < 80) {
            return;
        }

        const now = this.samples.at(-1)?.t ?? performance.now();
        const scale = this.#scale();
        const [top] = scale;
        const x = (t) => width - PAD.right
                         - (now - t) / SPAN * (width - PAD.left - PAD.right);
        const y = (v) => height - PAD.bottom
                         - Math.min(v, top) / top
                           * (height - PAD.top - PAD.bottom);
        const line = path(this.samples, x, y, "v");

        this.root.setAttribute("viewBox", "0 0 " + width + " " + height);
        this.#drawGrid(width, height, scale, y);
        this.line.setAttribute("d", line.d);
        this.area.setAttribute("d", line.d && line.area(y(0)));
        this.target.setAttribute("d", path(this.samples, x, y, "target").d);

        const last = this.samples.at(-1);
        const shown = last && last.v !== null;

        this.dot.setAttribute("visibility", shown ? "visible" : "hidden");

        if (shown) {
            this.dot.setAttribute("cx", x(last.t));
            this.dot.setAttribute("cy", y(Math.max(0, last.v)));
        }

        this.#describe();
    }

    /* the least scale that holds all samples: its top and its step, in s */
    #scale() {
        const most = Math.max(0, ...this.samples.map(
            (s) => Math.max(s.v ?? 0, s.target ?? 0)));
        const far = Math.ceil(most / 60 + 0.1) * 60;

        return SCALES.find(([top]) => most <= top * 0.95) || [far, far / 4];
    }

    #drawGrid(width, height, [top, step], y) {
        const key = width + " " + height + " " + top;

        if (this.key === key) {
            return;
        }

        this.key = key;
        this.grid.replaceChildren();

        for (let v = 0; v <= top; v += step) {
            svg("path", {d: "M" + PAD.left + " " + y(v)
                            + "H" + (width - PAD.right)}, this.grid);
            svg("text", {x: PAD.left - 6, y: y(v) + 3.5,
                         "text-anchor": "end"}, this.grid)
                .textContent = v + " s";
        }

        const words = [[PAD.left, "start", "1 min ago"],
                       [width - PAD.right, "end", "now"]];

        for (const [at, anchor, text] of words) {
            svg("text", {x: at, y: height - 4, "text-anchor": anchor},
                this.grid).textContent = text;
        }
    }

    #describe() {
        const now = Math.floor(performance.now() / 5000);
        const seen = this.samples.map((s) => s.v).filter((v) => v !== null);

        if (this.described === now) {
            return;
        }

        this.described = now;
        this.root.setAttribute("aria-label", seen.length === 0
            ? "Latency over the last minute: nothing measured yet"
            : "Latency over the last minute: now " + seen.at(-1).toFixed(1)
              + " s, least " + Math.min(...seen).toFixed(1)
              + " s, most " + Math.max(...seen).toFixed(1) + " s");
    }
}


/* One subpath for each run of known values. */
function path(samples, x, y, name) {
    const runs = [];
    let run = null;

    for (const s of samples) {
        const v = s[name];

        if (v === null || s.t < samples.at(-1).t - SPAN) {
            run = null;
            continue;
        }

        if (run === null) {
            run = [];
            runs.push(run);
        }

        run.push([x(s.t).toFixed(1), y(Math.max(0, v)).toFixed(1)]);
    }

    const join = (r) => "M" + r.map((p) => p.join(" ")).join("L");

    return {
        d: runs.map(join).join(""),
        area: (base) => runs.map((r) => join(r) + "L" + r.at(-1)[0] + " "
            + base + "L" + r[0][0] + " " + base + "Z").join(""),
    };
}
