// A click on a policy's name hides or shows it in all charts.
for (const chip of document.querySelectorAll(".chip")) {
  chip.addEventListener("click", () => {
    const shown = chip.getAttribute("aria-pressed") !== "true";
    chip.setAttribute("aria-pressed", String(shown));
    for (const mark of document.querySelectorAll(".mark")) {
      if (mark.dataset.policy === chip.dataset.policy) mark.classList.toggle("off", !shown);
    }
  });
}
