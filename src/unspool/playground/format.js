/** Numbers and times as people read them. Pure. */

const UNITS = [["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "narrow" });
const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 20 });

/** How long ago, as "5 min. ago". */
export function age(from, now = Date.now()) {
  const seconds = Math.max(0, (now - new Date(from).getTime()) / 1000);
  if (seconds < 10) return "just now";
  const [unit, length] = UNITS.find(([, length]) => seconds >= length) ?? UNITS[3];
  return relative.format(-Math.floor(seconds / length), unit);
}

/** A duration, as "80 ms", "1.8 s", "12 s", "3 min 20 s", "2 h 5 min". */
export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

export function bytes(count) {
  if (count < 1000) return `${count} bytes`;
  const [size, unit] = count < 1e6 ? [count / 1e3, "kB"] : count < 1e9 ? [count / 1e6, "MB"] : [count / 1e9, "GB"];
  return `${size < 10 ? size.toFixed(1) : Math.round(size)} ${unit}`;
}

export function number(value) {
  return grouped.format(value);
}

/** The beginning of a text in one line. */
export function shorten(text, length = 80) {
  const line = String(text).replace(/\s+/g, " ").trim();
  return line.length <= length ? line : `${line.slice(0, length - 1)}…`;
}
