// Keys that work anywhere on the page, except while something is being typed or a dialog is open.

/** @param {Record<string, () => void>} actions by lower-case letter */
export function listenForShortcuts(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || isOccupied(event.target)) return;
    const action = actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function isOccupied(target) {
  if (document.querySelector("dialog[open]")) return true;
  const typing = target instanceof HTMLElement && target.closest("input, select, textarea, [contenteditable]");
  return Boolean(typing) && !target.closest("dialog"); // a closed one may keep the focus for a moment
}
