"use strict";
// The page of a report. Strings of the data reach the page as text and properties only, never as HTML.
(() => {
  const byId = (id) => document.getElementById(id);
  const report = JSON.parse(byId("report").textContent);
  const details = document.querySelectorAll("script.detail");
  const videos = [...document.querySelectorAll("script.video")].map((node, place) => ({
    ...JSON.parse(node.textContent),
    detail: details[place], // parsed once the video is scrolled to
  }));
  // videos with events first, then by peak
  videos.sort((one, other) => (other.events.length > 0) - (one.events.length > 0) || other.peak - one.peak);
  for (const video of videos) {
    for (const event of video.events) {
      event.video = video;
      event.key = JSON.stringify([video.video_id, event.start_frame, event.end_frame]);
    }
  }
  const allEvents = videos.flatMap((video) => video.events);

  // --- words and elements ---

  function element(tag, properties = {}, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  }

  function clock(seconds, digits = 1) {
    const rounded = Number(seconds.toFixed(digits));
    const [hours, minutes, rest] = [rounded / 3600, (rounded / 60) % 60, rounded % 60].map((part, place) =>
      place < 2 ? Math.floor(part) : part.toFixed(digits),
    );
    const padded = String(rest).padStart(digits ? digits + 3 : 2, "0");
    return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${padded}` : `${minutes}:${padded}`;
  }

  const span = (event) => `${clock(event.start)} – ${clock(event.end)}`;
  const score = (value) => String(Number(value.toPrecision(3)));
  const counted = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
  const of = (part, whole, word) => (part === whole ? counted(whole, word) : `${part} of ${counted(whole, word)}`);

  // --- colours: one hue per class; their lightness follows the scheme ---

  const light = matchMedia("(prefers-color-scheme: light)");
  const labels = [...new Set([...report.classes, ...allEvents.map((event) => event.label)])];

  const hue = (label) => (40 + (labels.indexOf(label) * 360) / labels.length) % 360;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (label, alpha = 1) => `oklch(${css("--lightness")} 0.15 ${hue(label)} / ${alpha})`;

  function dot(label) {
    const node = element("span", { className: "dot", ariaHidden: "true" });
    node.style.setProperty("--hue", hue(label));
    return node;
  }

  // --- verdicts: kept in this browser, saved as a file ---

  const storageKey = `anomalyclip-report-${report.id}`;
  const kept = load();

  function load() {
    try {
      return { reviewer: "", verdicts: {}, ...JSON.parse(localStorage.getItem(storageKey)) };
    } catch {
      return { reviewer: "", verdicts: {} }; // storage is off, as in a sandboxed frame
    }
  }

  function keep() {
    let note = "";
    try {
      localStorage.setItem(storageKey, JSON.stringify(kept));
    } catch {
      note = " (this browser keeps nothing: save before you leave)";
    }
    const judged = allEvents.filter((event) => kept.verdicts[event.key]).length;
    byId("judged").textContent = `${judged} of ${allEvents.length} events judged${note}`;
  }

  function judge(event, verdict, corrected) {
    if (verdict === null) {
      delete kept.verdicts[event.key];
    } else {
      // what did not happen has no class
      const label = verdict === "false" || corrected === event.label ? null : corrected;
      kept.verdicts[event.key] = { verdict, corrected_label: label, decided_at: new Date().toISOString() };
    }
    keep();
    showVerdict(event);
  }

  function toggle(event, verdict) {
    const before = kept.verdicts[event.key];
    judge(event, before?.verdict === verdict ? null : verdict, before?.corrected_label ?? null);
  }

  function correct(event, label) {
    const before = kept.verdicts[event.key]?.verdict;
    judge(event, before === "unsure" ? "unsure" : "true", label);
  }

  function save() {
    const verdicts = allEvents
      .filter((event) => kept.verdicts[event.key])
      .map((event) => ({
        video_id: event.video.video_id,
        source: event.video.source,
        start_frame: event.start_frame,
        end_frame: event.end_frame,
        start: event.start,
        end: event.end,
        label: event.label,
        ...kept.verdicts[event.key],
      }));
    const file = {
      schema_version: report.schema_version,
      report_id: report.id,
      model: report.model,
      saved_at: new Date().toISOString(),
      reviewer: kept.reviewer,
      verdicts,
    };
    const url = URL.createObjectURL(new Blob([JSON.stringify(file, null, 2)], { type: "application/json" }));
    element("a", { href: url, download: "verdicts.json" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000); // once the download has begun
  }

  // --- timeline ---

  const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200];

  // In an event the line has the colour of its dominant class, which may change on the way.
  function labelAt(video, point) {
    const { times, runs } = video.data;
    const happens = video.events.some((event) => event.start <= times[point] && times[point] < event.end);
    return happens ? runs.findLast(([first]) => first <= point)[1] : null;
  }

  function colouredRuns(video) {
    const found = [];
    video.data.times.forEach((time, point) => {
      const label = labelAt(video, point);
      if (!found.length || found.at(-1).label !== label) found.push({ time, label });
    });
    return found;
  }

  function gradient(plot, runs, alpha) {
    const { min, max } = plot.scales.x;
    const { left, width } = plot.bbox;
    const fill = plot.ctx.createLinearGradient(left, 0, left + width, 0);
    const place = (time) => Math.min(1, Math.max(0, (time - min) / (max - min)));
    const quiet = alpha < 1 ? "transparent" : css("--quiet");
    runs.forEach(({ time, label }, number) => {
      const tint = label === null ? quiet : colour(label, alpha);
      fill.addColorStop(place(time), tint);
      fill.addColorStop(place(runs[number + 1]?.time ?? Infinity), tint);
    });
    return fill;
  }

  function drawBehind(plot, video) {
    const { ctx, bbox } = plot;
    for (const [start, end, label] of video.data.truth ?? []) {
      const [left, right] = [start, end].map((time) => plot.valToPos(time, "x", true));
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      ctx.fillStyle = css("--truth");
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
      ctx.beginPath();
      ctx.rect(left, bbox.top, right - left, bbox.height);
      ctx.clip(); // a name that is longer than its interval is cut
      ctx.fillStyle = css("--quiet");
      ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
      ctx.textBaseline = "bottom";
      ctx.fillText(label, left + 5 * devicePixelRatio, bbox.top + bbox.height - 4 * devicePixelRatio);
      ctx.restore();
    }
  }

  function drawOver(plot, video) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
    for (const [value, tint] of [[report.detection, css("--quiet")], [report.alert, css("--alert")]]) {
      const height = Math.round(plot.valToPos(value, "y", true)) + 0.5;
      ctx.strokeStyle = tint;
      ctx.beginPath();
      ctx.moveTo(bbox.left, height);
      ctx.lineTo(bbox.left + bbox.width, height);
      ctx.stroke();
    }
    for (const event of video.events.filter(matches)) {
      const [left, right] = [event.start, event.end].map((time) => plot.valToPos(time, "x", true));
      ctx.fillStyle = colour(event.label);
      ctx.fillRect(left, bbox.top, Math.max(right - left, 3 * devicePixelRatio), 5 * devicePixelRatio);
    }
    ctx.restore();
  }

  function readOut(plot, video) {
    const point = plot.cursor.idx ?? -1;
    const { times, scores } = video.data;
    const label = labelAt(video, point);
    const parts = point < 0 ? [] : [clock(times[point]), score(scores[point]), label ?? []].flat();
    video.readout.textContent = parts.join(" · ");
  }

  function drawChart(video) {
    const runs = colouredRuns(video);
    const axis = { stroke: () => css("--quiet"), font: "11px system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: () => css("--edge"), width: 1 };
    video.plot = new uPlot(
      {
        width: video.chart.clientWidth,
        height: video.chart.clientHeight,
        padding: [6, 18, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { show: false } },
        scales: { x: { time: false }, y: { range: [0, 1.02] } },
        axes: [
          { ...axis, size: 20, gap: 6, incrs: STEPS, grid: { show: false },
            values: (plot, ticks, _, __, step) => ticks.map((tick) => clock(tick, step < 1 ? 1 : 0)) },
          { ...axis, size: 34, gap: 4, grid, splits: () => [0, 0.5, 1], values: () => ["0", "0.5", "1"] },
        ],
        series: [
          {},
          { width: 1.6, points: { show: false },
            stroke: (plot) => gradient(plot, runs, 1), fill: (plot) => gradient(plot, runs, 0.22) },
        ],
        hooks: {
          drawClear: [(plot) => drawBehind(plot, video)],
          draw: [(plot) => drawOver(plot, video)],
          setCursor: [(plot) => readOut(plot, video)],
          setScale: [() => showPlayhead(video)],
        },
      },
      [video.data.times, video.data.scores],
      video.chart,
    );
    video.playhead = element("div", { className: "playhead", hidden: true });
    video.plot.over.append(video.playhead);
    video.plot.over.addEventListener("click", (click) => play(video, video.plot.posToVal(click.offsetX, "x")));
    showPlayhead(video);
  }

  function showPlayhead(video) {
    if (!video.playhead || !video.player) return;
    const { min, max } = video.plot.scales.x;
    const time = video.player.currentTime;
    video.playhead.hidden = !(min <= time && time <= max);
    video.playhead.style.left = `${video.plot.valToPos(time, "x")}px`;
  }

  // --- video ---

  let playing = null;

  function play(video, seconds) {
    if (!video.video) return;
    if (playing && playing !== video) playing.player.pause();
    playing = video;
    video.wanted = seconds;
    if (!video.player) addPlayer(video);
    else if (video.player.readyState > 0) seek(video);
  }

  function seek(video) {
    video.player.currentTime = Math.max(0, video.wanted);
    // refused by some browsers before the first click on the page; the reader can press play
    video.player.play().catch(() => {});
  }

  function addPlayer(video) {
    video.player = element("video", { controls: true, playsInline: true, preload: "auto", muted: true });
    video.player.setAttribute("aria-label", `Video ${video.video_id}`);
    video.player.addEventListener("loadedmetadata", () => seek(video));
    for (const name of ["timeupdate", "seeked"]) video.player.addEventListener(name, () => showPlayhead(video));
    video.player.addEventListener("error", () => {
      video.stage.replaceChildren(element("p", { textContent: `This browser cannot play ${video.source}` }));
    });
    const focused = video.stage.contains(document.activeElement); // on the button that goes away
    video.stage.replaceChildren(video.player);
    if (focused) video.player.focus();
    video.still = null;
    video.player.src = video.video;
  }

  // --- cards ---

  const near = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const video = videos[target.dataset.place];
        if (isIntersecting) wake(video);
        else rest(video);
      }
    },
    { rootMargin: "800px" },
  );

  function wake(video) {
    fill(video);
    if (!video.plot) drawChart(video);
    if (video.still) video.still.src = video.still.dataset.address;
  }

  // Canvases and videos that are far away are given back.
  function rest(video) {
    video.plot?.destroy();
    video.plot = video.playhead = null;
    video.still?.removeAttribute("src");
    video.still?.load();
  }

  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const video = videos[target.closest(".video").dataset.place];
      video.plot?.setSize({ width: target.clientWidth, height: target.clientHeight });
    }
  });

  function addCard(video, place) {
    const facts = element("p", { className: "facts" });
    const parts = [`peak ${score(video.peak)}`, clock(video.end - video.start), counted(video.events.length, "event")];
    facts.append(...parts.map((text) => element("span", { textContent: text })));
    video.readout = element("p", { className: "readout" });
    const title = element("h2", { textContent: video.video_id, id: `video-${place}`, title: video.source });
    video.card = element("article", { className: "video" }, element("header", {}, title, facts, video.readout));
    video.card.dataset.place = place;
    video.card.setAttribute("aria-labelledby", title.id);
    video.card.style.containIntrinsicSize = `auto 300px auto ${270 + 80 * Math.ceil(video.events.length / 2)}px`;
    return video.card;
  }

  function fill(video) {
    if (video.data) return;
    video.data = JSON.parse(video.detail.textContent);
    video.stage = element("div", { className: "stage" }, ...stageParts(video));
    video.chart = element("div", { className: "chart", role: "img" });
    const peak = video.data.times[video.data.scores.indexOf(Math.max(...video.data.scores))];
    video.chart.ariaLabel = `Score over ${clock(video.end - video.start)}, highest at ${clock(peak)}`;
    const list = element("ol", { className: "events" }, ...video.events.map(eventItem));
    const nothing = video.events.length ? [] : [element("p", { className: "none", textContent: "No event." })];
    const side = element("div", { className: "side" }, video.chart, list, ...nothing);
    video.card.append(element("div", { className: "body" }, video.stage, side));
    video.events.forEach(showVerdict);
    filterItems(video);
    sizes.observe(video.chart);
    if (video.data.truth) byId("key-truth").hidden = false;
  }

  const picture = (video, event) => {
    const content = video.data.frames[event.peak_frame];
    return content ? [element("img", { src: `data:image/jpeg;base64,${content}`, alt: "" })] : [];
  };

  function stageParts(video) {
    const best = [...video.events].sort((one, other) => other.peak - one.peak)[0];
    const poster = best ? picture(video, best) : [];
    if (!video.video) return [...poster, element("p", { textContent: "No video to play." })];
    const start = element("button", { type: "button", className: "start", ariaLabel: `Play ${video.video_id}` });
    start.append(element("span", { textContent: "▶", ariaHidden: "true" }));
    start.addEventListener("click", () => play(video, best ? best.start : video.start));
    if (!poster.length) poster.push(still(video, best));
    return [...poster, start];
  }

  // Without a key frame the browser shows the video's own frame in the middle of the event.
  function still(video, event) {
    video.still = element("video", { preload: "metadata", muted: true, tabIndex: -1, ariaHidden: "true" });
    video.still.dataset.address = `${video.video}#t=${event ? (event.start + event.end) / 2 : video.start}`;
    return video.still;
  }

  function eventItem(event) {
    const quiet = (text) => element("span", { className: "small", textContent: text });
    const severity = element("span", { className: `small severity ${event.severity}`, textContent: event.severity });
    const share = quiet(`${Math.round(100 * event.share)} %`);
    const what = element("span", { className: "what" }, dot(event.label), event.label, share, severity);
    const text = element("span", {}, what, quiet(span(event)), quiet(`peak ${score(event.peak)}`));
    for (const [name, part] of Object.entries(event.new_shares ?? {})) {
      const found = quiet(`${name} ${Math.round(100 * part)} %`);
      if (name === event.new_label) found.classList.add("new");
      text.append(found);
    }
    if (event.clock_start) text.append(quiet(event.clock_start.replace("T", " ").replace(/\.\d+/, "")));
    event.go = element("button", { type: "button", className: "go" }, ...picture(event.video, event), text);
    event.go.addEventListener("click", () => play(event.video, event.start));
    event.item = element("li", { className: "event" }, event.go, judgeRow(event));
    event.item.addEventListener("focusin", () => setCurrent(event));
    return event.item;
  }

  function judgeRow(event) {
    const row = element("div", { className: "judge", role: "group", ariaLabel: `Verdict on ${event.label}, ${span(event)}` });
    event.buttons = ["true", "false", "unsure"].map((verdict) => {
      const button = element("button", { type: "button", textContent: verdict[0].toUpperCase() + verdict.slice(1) });
      button.dataset.verdict = verdict;
      button.addEventListener("click", () => toggle(event, verdict));
      return button;
    });
    event.select = element("select", { ariaLabel: "Class" }, ...labels.map((label) => new Option(label)));
    event.select.addEventListener("change", () => correct(event, event.select.value));
    row.append(...event.buttons, event.select);
    return row;
  }

  function showVerdict(event) {
    const found = kept.verdicts[event.key];
    for (const button of event.buttons) button.ariaPressed = String(button.dataset.verdict === found?.verdict);
    event.select.value = found?.corrected_label ?? event.label;
  }

  // --- filters ---

  let filter = {};
  let shownEvents = [];

  function matches(event) {
    return (
      (!filter.label || event.label === filter.label) &&
      (!filter.severity || event.severity === filter.severity) &&
      event.peak >= filter.peak
    );
  }

  // A video without events is shown as long as no property of events is asked for.
  function showsVideo(video) {
    if (!video.video_id.toLowerCase().includes(filter.name)) return false;
    if (video.events.some(matches)) return true;
    return !video.events.length && !filter.label && !filter.severity && video.peak >= filter.peak;
  }

  function filterItems(video) {
    for (const event of video.events) event.item.hidden = !matches(event);
  }

  function applyFilters() {
    filter = {
      name: byId("search").value.trim().toLowerCase(),
      label: byId("class").value,
      severity: byId("severity").value,
      peak: Number(byId("peak").value),
    };
    byId("peak-value").textContent = filter.peak.toFixed(2);
    const shown = videos.filter(showsVideo);
    shownEvents = shown.flatMap((video) => video.events.filter(matches));
    for (const video of videos) video.card.hidden = true;
    for (const video of shown) video.card.hidden = false;
    for (const video of shown.filter((one) => one.data)) {
      filterItems(video);
      video.plot?.redraw(false);
    }
    const found = `${of(shown.length, videos.length, "video")}, ${of(shownEvents.length, allEvents.length, "event")} shown`;
    byId("shown").textContent = found;
  }

  // --- keys ---

  let current = null;

  function setCurrent(event) {
    current?.item.classList.remove("current");
    current = event;
    current.item.classList.add("current");
  }

  function step(by) {
    const place = shownEvents.indexOf(current);
    const event = shownEvents[place < 0 ? 0 : place + by];
    if (!event) return;
    fill(event.video);
    event.video.card.scrollIntoView({ block: "nearest" });
    event.item.scrollIntoView({ block: "nearest" });
    event.go.focus({ focusVisible: true });
  }

  const onCurrent = (action) => () => shownEvents.includes(current) && action(current);
  const KEYS = {
    j: () => step(1),
    ArrowDown: () => step(1),
    k: () => step(-1),
    ArrowUp: () => step(-1),
    Enter: onCurrent((event) => play(event.video, event.start)),
    t: onCurrent((event) => toggle(event, "true")),
    f: onCurrent((event) => toggle(event, "false")),
    u: onCurrent((event) => toggle(event, "unsure")),
    c: onCurrent((event) => event.select.focus()),
    s: save,
    "/": () => byId("search").focus(),
    "?": () => byId("help").showModal(),
  };

  document.addEventListener("keydown", (press) => {
    const target = press.target;
    if (byId("help").open || press.ctrlKey || press.metaKey || press.altKey) return;
    if (target.closest("input, select")) {
      if (press.key === "Escape") {
        target.blur();
        current?.go.focus();
      }
      return;
    }
    if (target.closest("video") && press.key.startsWith("Arrow")) return;
    if (press.key === "Enter" && target.closest("button, a, video")) return; // their own Enter
    const action = KEYS[press.key];
    if (!action) return;
    press.preventDefault();
    action();
  });

  // --- start ---

  const counts = (label) => allEvents.filter((event) => event.label === label).length;
  byId("class").append(...labels.filter(counts).map((label) => new Option(`${label} (${counts(label)})`, label)));
  byId("key-classes").append(...labels.map((label) => element("li", {}, dot(label), label)));
  byId("totals").textContent = `${counted(videos.length, "video")}, ${counted(allEvents.length, "event")}`;
  byId("videos").append(...videos.map(addCard));
  byId("reviewer").value = kept.reviewer;
  byId("reviewer").addEventListener("input", (input) => {
    kept.reviewer = input.target.value;
    keep();
  });
  for (const id of ["search", "peak"]) byId(id).addEventListener("input", applyFilters);
  for (const id of ["class", "severity"]) byId(id).addEventListener("change", applyFilters);
  byId("tools").addEventListener("submit", (submit) => submit.preventDefault());
  byId("save").addEventListener("click", save);
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  light.addEventListener("change", () => {
    for (const video of videos) video.plot?.redraw(false);
  });
  applyFilters();
  keep();
  for (const video of videos) near.observe(video.card);
})();
