/** Which values are files, of which kind, and where they lie. Pure. */

const KINDS = {
  image: ["png", "jpg", "jpeg", "gif", "webp", "avif", "svg", "bmp"],
  video: ["mp4", "webm", "mov", "m4v", "mkv"],
  audio: ["wav", "mp3", "ogg", "oga", "flac", "m4a", "aac", "opus"],
};
/** The names that a server gives its files; no other server has the same. */
const OWN = /\/files\/((?:u[0-9a-f]{32}(?:-[A-Za-z0-9][A-Za-z0-9._-]*)?|[0-9a-f]{32}-[0-9a-f]{32})(?:\.[a-z0-9]{1,16})?)$/;

/**
 * What a value is, if it is a file.
 *
 * @returns {{kind: "image"|"video"|"audio"|"file", url: string, name: string, here: boolean}|null} `here`: it can be
 *   shown, since it lies on this server or is in the value itself
 */
export function fileOf(value, base) {
  if (typeof value !== "string" || value.length > 50_000_000) return null;
  const data = /^data:(\w+)\/([\w.+-]+)[;,]/.exec(value);
  if (data) return data[1] in KINDS ? { kind: data[1], url: value, name: `${data[1]}.${data[2].split("+")[0]}`, here: true } : null;
  if (!/^https?:\/\/\S+$/.test(value)) return null;
  const url = URL.parse ? URL.parse(value) : safeUrl(value);
  if (url === null) return null;
  const own = OWN.exec(url.pathname);
  const extension = /\.([a-z0-9]+)$/i.exec(url.pathname)?.[1].toLowerCase() ?? "";
  const kind = Object.keys(KINDS).find((one) => KINDS[one].includes(extension));
  if (!own && kind === undefined) return null;
  const name = decodeURIComponent(url.pathname.split("/").at(-1).replace(/%(?![0-9a-f]{2})/gi, "%25"));
  return { kind: kind ?? "file", url: own ? new URL(`files/${own[1]}`, base).href : value, name, here: Boolean(own) };
}

/** Every file anywhere in a value, each once. */
export function filesIn(value, base, found = new Map()) {
  const file = fileOf(value, base);
  if (file) found.set(file.url, file);
  else if (typeof value === "object" && value !== null) for (const inner of Object.values(value)) filesIn(inner, base, found);
  return [...found.values()];
}

/** What a model gives, by its category as `image-to-video`: the last word, if it is one of those that are known. */
export function givesOf(type) {
  const last = (type ?? "").split("-").at(-1);
  return ["text", "image", "video", "audio", "speech", "music", "embedding", "json", "3d"].includes(last) ? last : null;
}

function safeUrl(text) {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}
