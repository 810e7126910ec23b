/*
 * Making and changing elements.  Text from the server gets into the page only
 * through here, as text nodes and attributes: never as HTML.
 */


/* h("p.note", {title: "x", onclick: f}, "text", child, ...) */
export function h(what, props, ...children) {
    const [tag, ...classes] = what.split(".");
    const node = document.createElement(tag);

    if (classes.length) {
        node.className = classes.join(" ");
    }

    for (const [name, value] of Object.entries(props || {})) {
        if (name.startsWith("on")) {
            node.addEventListener(name.slice(2), value);

        } else if (value === true) {
            node.setAttribute(name, "");

        } else if (value !== false && value !== null && value !== undefined) {
            node.setAttribute(name, value);
        }
    }

    node.append(...children.flat().filter((child) =>
        child !== null && child !== undefined && child !== false));

    return node;
}


/* Elements that are kept and changed in place, so that nothing flickers, the
 * focus stays and a screen reader hears only what is new. */

export function setText(node, text) {
    if (node.textContent !== text) {
        node.textContent = text;
    }
}


export function setAttr(node, name, value) {
    if (value === null) {
        node.removeAttribute(name);

    } else if (node.getAttribute(name) !== value) {
        node.setAttribute(name, value);
    }
}


/* Makes the children of node be exactly `nodes`, moving as few as it can. */
export function setChildren(node, nodes) {
    nodes.forEach((child, i) => {
        if (node.children[i] !== child) {
            node.insertBefore(child, node.children[i] || null);
        }
    });

    while (node.children.length > nodes.length) {
        node.lastElementChild.remove();
    }
}


export function icon(name) {
    const ns = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(ns, "svg");
    const use = document.createElementNS(ns, "use");

    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    use.setAttribute("href", "#i-" + name);
    svg.append(use);

    return svg;
}


let toastTimer;

export function toast(text) {
    const node = document.getElementById("toast");

    clearTimeout(toastTimer);
    node.textContent = text;
    node.classList.add("shown");
    toastTimer = setTimeout(() => node.classList.remove("shown"), 3500);
}


export async function copy(text, what, button) {
    try {
        if (navigator.clipboard && window.isSecureContext) {
            await navigator.clipboard.writeText(text);

        } else {
            copyBySelection(text);
        }

    } catch {
        toast("The browser did not let it be copied");
        return;
    }

    toast(what + " copied");
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1500);
}


/* A page served by plain HTTP from another host has no clipboard API. */
function copyBySelection(text) {
    const area = h("textarea", {readonly: true, "aria-hidden": "true",
                                class: "offscreen"});
    const focused = document.activeElement;

    area.value = text;
    document.body.append(area);
    area.select();

    const done = document.execCommand("copy");

    area.remove();
    focused?.focus();

    if (!done) {
        throw new Error("copy refused");
    }
}


export function copyButton(text, what) {
    const button = h("button.copy", {
        type: "button",
        "aria-label": "Copy " + what.toLowerCase(),
        title: "Copy",
        onclick: () => copy(text, what, button),
    }, icon("copy"), icon("check"));

    return button;
}


/* Asks; resolves to true when the operator says yes. */
export function confirm({title, text, yes, danger}) {
    const dialog = document.getElementById("dialog");
    const button = document.getElementById("dialog-yes");

    document.getElementById("dialog-title").textContent = title;
    document.getElementById("dialog-text").textContent = text;
    button.textContent = yes;
    button.className = "button " + (danger ? "danger" : "primary");
    dialog.returnValue = "no";
    dialog.showModal();

    return new Promise((resolve) => {
        dialog.addEventListener("close",
            () => resolve(dialog.returnValue === "yes"), {once: true});
    });
}
