// Elements found and made.

/** The element with this id; its absence is a mistake of the page. @returns {HTMLElement} */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element "${id}"`);
  return found;
}

/** @param {string} tag @param {string} text @param {string} className @param {Node[]} children */
export function make(tag, text = "", className = "", children = []) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** Changes the text only where it differs, so that nothing is drawn or read out for nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
