// Puts a plain box in the place of a picture that cannot be loaded.
"use strict";

function give(image) {
  const box = document.createElement("span");
  box.className = "picture";
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", `${image.alt} (not available)`);
  image.replaceWith(box);
}

const isPicture = (element) => element instanceof HTMLImageElement && element.classList.contains("picture");

addEventListener("error", (event) => { if (isPicture(event.target)) give(event.target); }, true);
document.querySelectorAll("img.picture").forEach((image) => { if (image.complete && !image.naturalWidth) give(image); });
