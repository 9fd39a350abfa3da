"use strict";
// The images of mistakes: filters, tiles, keyboard, enlarging. All text comes from data and is set as text.
(() => {
  const root = document.getElementById("gallery");
  if (!root) return;
  const { pictures, items } = JSON.parse(document.getElementById("gallery-data").textContent);
  const FIRST = matchMedia("(max-width: 600px)").matches ? 8 : 24;
  const tiles = root.querySelector(".tiles"), count = root.querySelector(".count"), more = root.querySelector(".more");
  const selects = [...root.querySelectorAll("select")], dialog = document.getElementById("enlarged");
  const source = place => `data:image/webp;base64,${pictures[place]}`;
  let shown = [], open = -1;

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // The picture in grey, and in colour what spoke for the answer.
  const drawHeat = (canvas, image, item) => {
    const pen = canvas.getContext("2d"), side = canvas.width, width = item.width, height = item.heat.length / width;
    const heat = document.createElement("canvas");
    heat.width = width; heat.height = height;
    const small = heat.getContext("2d"), pixels = small.createImageData(width, height);
    [...item.heat].forEach((digit, i) => pixels.data.set([255, 98, 0, Number(digit) * 21], 4 * i));
    small.putImageData(pixels, 0, 0);
    pen.filter = "grayscale(1) brightness(.92)";
    pen.drawImage(image, 0, 0, side, side);
    pen.filter = "none";
    pen.imageSmoothingQuality = "high";
    pen.drawImage(heat, 0, 0, side, side);
  };

  const picture = (pair, place, size) => {
    const item = items[place], image = make("img");
    image.alt = "";
    pair.replaceChildren(image);
    pair.classList.toggle("single", !item.heat);
    if (item.heat) {
      const canvas = make("canvas");
      canvas.width = canvas.height = size;
      canvas.setAttribute("aria-hidden", "true");
      pair.append(canvas);
      image.addEventListener("load", () => drawHeat(canvas, image, item));
    }
    image.src = source(place);
  };

  const tile = place => {
    const item = items[place], button = make("button", "tile-button"), pair = make("span", "pair");
    button.type = "button";
    picture(pair, place, 176);
    const line = make("p");
    line.append(make("b", "", item.label));
    if (!item.right) line.append(" answered ", make("b", "bad", item.answer));
    button.append(pair, line, make("p", "soft", item.text));
    button.addEventListener("click", () => enlarge(place));
    return button;
  };

  const matches = (item, wanted) =>
    (!wanted.kind || item.kinds.includes(wanted.kind)) &&
    (!wanted.label || item.labels.includes(Number(wanted.label))) &&
    (!wanted.answer || item.answers.includes(Number(wanted.answer))) &&
    (!wanted.fold || item.fold === Number(wanted.fold));

  const update = (limit = FIRST) => {
    const wanted = Object.fromEntries(selects.map(select => [select.name, select.value]));
    shown = items.map((item, place) => place).filter(place => matches(items[place], wanted));
    if (wanted.kind === "right") shown.reverse(); // the surest first
    const number = Math.min(limit, shown.length);
    tiles.replaceChildren(...shown.slice(0, number).map(tile));
    count.textContent = shown.length ? `${number} of ${shown.length} images that are in this page` : "No image of this kind is in this page.";
    more.hidden = number === shown.length;
  };
  more.addEventListener("click", () => update(tiles.childElementCount + 4 * FIRST));
  for (const select of selects) select.addEventListener("change", () => update());
  const choose = wanted => {
    for (const select of selects) select.value = wanted[select.name] ?? "";
    update();
  };
  root.querySelector(".reset").addEventListener("click", () => choose({}));

  const enlarge = place => {
    const item = items[place], facts = dialog.querySelector("dl");
    open = shown.indexOf(place);
    dialog.querySelector("h3").textContent = `${item.id} (${open + 1} of ${shown.length})`;
    picture(dialog.querySelector(".pair"), place, 400);
    facts.replaceChildren(...[["label", item.label], ["answer", item.answer], ["evidence", item.text], ["fold", item.fold], ["file", item.path]].map(([name, value]) => {
      const row = make("div");
      row.append(make("dt", "", name), make("dd", "", String(value)));
      return row;
    }));
    if (!dialog.open) dialog.showModal();
  };
  const step = by => { if (shown[open + by] !== undefined) enlarge(shown[open + by]); };
  for (const button of dialog.querySelectorAll("[data-step]")) button.addEventListener("click", () => step(Number(button.dataset.step)));
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => tiles.children[open]?.focus());
  dialog.addEventListener("keydown", event => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { event.preventDefault(); step(by); }
  });
  tiles.addEventListener("keydown", event => {
    const all = [...tiles.children], place = all.indexOf(document.activeElement);
    const columns = getComputedStyle(tiles).gridTemplateColumns.split(" ").length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (by && all[place + by]) { event.preventDefault(); all[place + by].focus(); }
  });

  // A cell of the matrix, or a link such as #mistakes?label=2&answer=5, leads to its images.
  const goTo = wanted => {
    choose(wanted);
    document.getElementById("mistakes").scrollIntoView();
    (tiles.firstElementChild ?? root.querySelector("select")).focus({ preventScroll: true });
  };
  for (const button of document.querySelectorAll(".matrix td button")) button.addEventListener("click", () => goTo({ ...button.dataset }));
  document.addEventListener("click", event => {
    const link = event.target.closest?.('a[href^="#mistakes?"]');
    if (!link) return;
    event.preventDefault();
    goTo(Object.fromEntries(new URLSearchParams(link.getAttribute("href").split("?")[1])));
  });
  update();
})();

// The matrix in another order.
for (const figure of document.querySelectorAll("figure.matrix")) {
  const table = figure.querySelector("table"), orders = JSON.parse(table.dataset.orders);
  const rows = [...table.tBodies[0].rows], head = table.tHead.rows[0];
  const cells = [head, ...rows].map(row => [...row.cells]);
  figure.querySelector("select").addEventListener("change", event => {
    const order = orders[event.target.value];
    [head, ...rows].forEach((row, i) => row.append(...order.map(j => cells[i][j + 1])));
    table.tBodies[0].append(...order.map(i => rows[i]));
  });
}

// The map: drawn on a canvas, again when its size or the colours change.
(() => {
  const figure = document.getElementById("map-figure");
  if (!figure) return;
  const { points, sheet, columns, side, palette } = JSON.parse(document.getElementById("map-data").textContent);
  const canvas = figure.querySelector("canvas"), tip = figure.querySelector(".tip"), plane = figure.querySelector(".plane");
  const picture = tip.querySelector(".tile"), words = tip.querySelector("p");
  picture.style.backgroundImage = `url(data:image/webp;base64,${sheet})`;
  picture.style.backgroundSize = `${columns * 96}px auto`;
  const MARGIN = 14;
  let chosen = null, near = -1;
  const place = ([x, y]) => {
    const box = canvas.getBoundingClientRect();
    return [MARGIN + x / side * (box.width - 2 * MARGIN), MARGIN + y / side * (box.height - 2 * MARGIN)];
  };

  const draw = () => {
    const width = plane.clientWidth, height = Math.max(320, Math.round(width * 0.62)), ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio; canvas.height = height * ratio; canvas.style.height = `${height}px`;
    const style = getComputedStyle(document.documentElement), colour = n => style.getPropertyValue(n < 0 ? "--strong" : `--${palette}${n}`);
    const pen = canvas.getContext("2d"), radius = width < 500 ? 2.2 : 3;
    pen.scale(ratio, ratio);
    points.forEach((point, i) => {
      const [x, y] = place(point), isFaint = chosen !== null && point[2] !== chosen;
      pen.globalAlpha = isFaint ? 0.1 : 0.75;
      pen.fillStyle = colour(point[2]);
      pen.beginPath(); pen.arc(x, y, i === near ? 2 * radius : radius, 0, 7); pen.fill();
      if (point[3]) {
        pen.globalAlpha = isFaint ? 0.1 : 0.8;
        pen.strokeStyle = style.getPropertyValue("--ink"); pen.lineWidth = 1;
        pen.beginPath(); pen.arc(x, y, radius + 1.8, 0, 7); pen.stroke();
      }
    });
  };

  const look = event => {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = 20 * 20, found = -1;
    points.forEach((point, i) => {
      if (chosen !== null && point[2] !== chosen) return;
      const [px, py] = place(point), distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < best) { best = distance; found = i; }
    });
    if (found === near) return;
    near = found;
    tip.hidden = near < 0;
    if (near >= 0) {
      const [px, py] = place(points[near]);
      picture.style.backgroundPosition = `-${near % columns * 96}px -${Math.floor(near / columns) * 96}px`;
      words.textContent = points[near][4];
      tip.style.left = `${Math.max(0, Math.min(px + 14, box.width - 160))}px`;
      tip.style.top = `${py + 170 > box.height ? Math.max(0, py - 160) : py + 14}px`;
    }
    draw();
  };
  canvas.addEventListener("pointermove", look);
  canvas.addEventListener("pointerdown", look);
  canvas.addEventListener("pointerleave", () => { near = -1; tip.hidden = true; draw(); });
  for (const button of figure.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const colour = Number(button.dataset.colour);
      chosen = chosen === colour ? null : colour;
      for (const other of figure.querySelectorAll(".legend button")) other.setAttribute("aria-pressed", String(other === button && chosen !== null));
      draw();
    });
  }
  new ResizeObserver(draw).observe(plane);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
