// Where a video comes from: a file that is dropped or picked, or the address of an object that is in a bucket already.

/** Extensions of what the fleet may be able to read. Browsers know no type for some of them. */
const VIDEO = /\.(mp4|m4v|mov|qt|mkv|webm|avi|ts|mts|m2ts|mpg|mpeg|m2v|wmv|flv|ogv|3gp|3g2|mxf|vob|asf|dv)$/i;

export const ACCEPTED = 'video/*,.mkv,.mov,.webm,.avi,.ts,.mts,.m2ts,.mxf,.flv,.wmv';

/** Why a file is refused, as a sentence; nothing if it is accepted. */
export function refusal({ name, type, size }) {
  if (!VIDEO.test(name) && !/^video\//.test(type)) {
    return `${name} is not a video file. Use MP4, MOV, MKV or WebM.`;
  }
  return size > 0 ? '' : `${name} is empty.`;
}

/** The bucket and the object of `gs://bucket/object`; null for anything else. */
export function parseUri(text) {
  const [uri, bucket, object] = /^gs:\/\/([a-z0-9._-]{3,222})\/(.+)$/.exec(text.trim()) ?? [];
  return uri ? { uri, bucket, object, name: object.split('/').at(-1) } : null;
}

/**
 * A link of the storage as this page uses it: a fleet that serves its storage at the page's own origin (`storage.url`
 * is empty) still names it by `storage.origin`, which only its own machine reaches.
 */
export function readableUrl(storage, url) {
  const { origin, url: own } = storage ?? {};
  return origin && url.startsWith(`${origin}/`) ? `${own}${url.slice(origin.length)}` : url;
}

/** Where the preview of a stored source is read from; null where this page cannot read it. */
export function storedUrl(storage, uri) {
  const found = parseUri(uri ?? '');
  return storage && found
    ? `${storage.url}/storage/v1/b/${found.bucket}/o/${encodeURIComponent(found.object)}?alt=media`
    : null;
}

/** Lets the user pick a file. `onFile(file, handle)`; browsers with handles can read the file again after a reload. */
export async function pickFile(onFile) {
  const types = [
    { description: 'Videos', accept: { 'video/*': ['.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.ts', '.mts'] } },
  ];
  try {
    const [handle] = await showOpenFilePicker({ types });
    onFile(await handle.getFile(), handle);
  } catch (error) {
    if (error.name !== 'AbortError') {
      throw error;
    }
  }
}

export const hasFilePicker = () => 'showOpenFilePicker' in globalThis;

/** Lets files be dropped anywhere on the page. */
export function acceptDrops(onFile) {
  let depth = 0;
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle('dropping', depth > 0);
  };
  const carries = (event) => event.dataTransfer?.types.includes('Files');
  addEventListener('dragenter', (event) => carries(event) && mark(1));
  addEventListener('dragleave', (event) => carries(event) && mark(-1));
  addEventListener('dragover', (event) => carries(event) && event.preventDefault());
  addEventListener('drop', async (event) => {
    if (carries(event)) {
      event.preventDefault();
      mark(-depth);
      const [file] = event.dataTransfer.files;
      // The transfer's items are gone after the first pause.
      const item = [...event.dataTransfer.items].find(({ kind }) => kind === 'file');
      const handle = await item?.getAsFileSystemHandle?.().catch(() => null);
      if (file) {
        onFile(file, handle?.kind === 'file' ? handle : null);
      }
    }
  });
}
