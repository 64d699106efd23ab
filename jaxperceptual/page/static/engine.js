// What makes the pictures: the server that this page came from.

export const where = "Photos are worked on by the computer that serves this page, and kept nowhere.";

/** Styles and bounds, and whether the network is ready. */
export async function about() {
  const answer = await fetch("api/about");
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

/** Where a style's painting is. */
export const thumbnail = (name) => `api/thumbnails/${encodeURIComponent(name)}`;

/** An encoded picture of the photo, a Blob, as `wish` has it; an Error has a sentence. */
export async function picture(photo, wish, signal) {
  let answer;
  try {
    answer = await fetch(`api/picture?${new URLSearchParams(wish)}`, { method: "POST", body: photo, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (!answer.ok) throw new Error(await answer.text());
  return answer.blob();
}
