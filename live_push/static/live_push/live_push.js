// Everything works without this file: it copies on a click, and keeps a second click from sending twice.
"use strict";

document.addEventListener("submit", (event) => {
    const buttons = event.target.querySelectorAll("button.lp-submit-once");
    // After the browser has collected the form: a disabled button's value would be left out.
    setTimeout(() => buttons.forEach((button) => { button.disabled = true; }), 0);
});

// A page that comes back from the browser's memory must be usable again.
window.addEventListener("pageshow", () => {
    document.querySelectorAll("button.lp-submit-once").forEach((button) => { button.disabled = false; });
});

if (navigator.clipboard) {
    document.querySelectorAll("[data-lp-copy]").forEach((button) => {
        button.hidden = false;
        button.addEventListener("click", async () => {
            await navigator.clipboard.writeText(document.getElementById(button.dataset.lpCopy).textContent);
            button.textContent = button.dataset.lpCopied;
        });
    });
}
