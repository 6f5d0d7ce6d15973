"use strict";
for (const gallery of document.querySelectorAll(".gallery")) {
  const strips = [...gallery.querySelectorAll(".strip")].map((image) => ({
    image, frames: image.dataset.frames ? image.dataset.frames.split(" ") : [],
  }));
  const slider = gallery.querySelector(".time");
  if (slider) {
    const iterations = slider.dataset.iterations.split(",");
    const told = gallery.querySelector(".at");
    slider.addEventListener("input", () => {
      const moment = Number(slider.value);
      for (const { image, frames } of strips) if (frames.length) image.src = frames[moment];
      const count = iterations[moment];
      told.textContent = `after ${count} iteration${count === "1" ? "" : "s"}`;
    });
  }
  const buttons = [...gallery.querySelectorAll(".zoom")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      gallery.style.setProperty("--zoom", button.dataset.zoom);
      for (const one of buttons) one.setAttribute("aria-pressed", String(one === button));
    });
  }
}
let sounding = null;
for (const button of document.querySelectorAll(".play")) {
  button.addEventListener("click", () => {
    if (sounding) sounding.pause();
    sounding = new Audio(button.dataset.sound);
    sounding.play();
  });
}
