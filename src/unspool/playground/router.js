/** Where the page stands, as the fragment of its address. Pure. */

/**
 * @returns {{view: "home"} | {view: "model", id: string} | {view: "prediction", id: string, token: string|null}
 *   | {view: "key", key: string} | {view: "other"}} "other" is a fragment that means nothing here, as `#main`
 */
export function parse(hash) {
  const text = hash.replace(/^#/, "");
  if (text.startsWith("key=")) return { view: "key", key: new URLSearchParams(text).get("key").trim() };
  if (text === "" || text === "/") return { view: "home" };
  const [path, query = ""] = text.split("?", 2);
  const [first, kind, ...rest] = path.split("/");
  const id = rest.map(decode).join("/");
  if (first !== "" || !id) return { view: first === "" ? "home" : "other" };
  if (kind === "models") return { view: "model", id };
  if (kind === "predictions") return { view: "prediction", id, token: new URLSearchParams(query).get("token") };
  return { view: "home" };
}

export function modelAddress(id) {
  return `#/models/${id.split("/").map(encodeURIComponent).join("/")}`;
}

export function predictionAddress(id, token = null) {
  const query = token === null ? "" : `?token=${encodeURIComponent(token)}`;
  return `#/predictions/${encodeURIComponent(id)}${query}`;
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
