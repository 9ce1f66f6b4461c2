// Makes nodes. Texts only ever become text nodes, so a device's name cannot become markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const svg = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);
export const byId = (id) => document.getElementById(id);

/** Put new children in, and leave people alone: what has the focus keeps it, what is being selected stays. */
export function renew(node, ...children) {
  const selection = getSelection();
  if (!selection.isCollapsed && node.contains(selection.anchorNode)) return;
  const focusable = () => [...node.querySelectorAll("a, button, summary, select")];
  const at = node.contains(document.activeElement) ? focusable().indexOf(document.activeElement) : -1;
  node.replaceChildren(...children);
  if (at >= 0) focusable()[at]?.focus({ preventScroll: true });
}

/** Write a text only when it differs: screen readers and the renderer stay quiet otherwise. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setClass(node, name) {
  if (node.getAttribute("class") !== name) node.setAttribute("class", name);
}
