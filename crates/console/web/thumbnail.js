// A small picture of each draft, for the list of recent videos.

import { getRecord, putRecord } from './database.js';
import { h } from './ui.js';

const STORE = 'thumbnails';
const WIDTH_PX = 192;
const QUALITY = 0.7;

/** Keeps what the video shows now. Only of a local file: the page may not read pictures from another server. */
export async function keepThumbnail(id, video) {
  const canvas = h('canvas', {
    width: WIDTH_PX,
    height: Math.round((WIDTH_PX * video.videoHeight) / video.videoWidth),
  });
  canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => {
    canvas.toBlob(resolve, 'image/jpeg', QUALITY);
  });
  await putRecord(STORE, id, blob);
}

/** An element that shows a draft's picture once it is read. */
export function thumbnail(id) {
  const place = h('span', { class: 'thumbnail' });
  getRecord(STORE, id).then((blob) => {
    if (blob instanceof Blob) {
      const image = h('img', { alt: '', src: URL.createObjectURL(blob) });
      image.addEventListener('load', () => URL.revokeObjectURL(image.src));
      place.append(image);
    }
  });
  return place;
}
