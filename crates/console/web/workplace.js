// The workplace: the start page or the editor, and how videos come into it without a mark being lost.

import { pruneRecords } from './database.js';
import { Draft } from './draft.js';
import { Drafts, draftId } from './drafts.js';
import { createEditor } from './editor.js';
import { createEntrance } from './entrance.js';
import { Launch } from './launch.js';
import { acceptDrops, refusal } from './source.js';
import { confirmed, dismissToast, toast } from './toast.js';
import { count, h } from './ui.js';
import { Uploads } from './upload.js';

/** `onStarted(batchId, count)` is called for each batch; `onOpen()` when a video was opened. */
export function createWorkplace({ settings, onStarted, onOpen }) {
  const drafts = new Drafts();
  const draft = new Draft(drafts);
  const uploads = settings.storage && new Uploads(settings.storage, draft);
  const launch = new Launch({ draft, uploads, onStarted });
  const entrance = createEntrance({ settings, drafts, onFile: openFile, onUri: openUri, onDraft: openDraft });
  const editor = createEditor({ draft, settings, uploads, launch, onReplace: close });
  const element = h('div', { class: 'workplace' }, entrance.element, editor.element);

  /** A file that is no video changes nothing; another video asks first if there are clips. */
  async function openFile(file, handle) {
    const refused = refusal(file);
    if (refused) {
      toast(refused);
      if (!draft.source) {
        entrance.complain(refused);
      }
      return;
    }
    if (await mayReplace(draftId({ name: file.name, bytes: file.size }))) {
      uploads.begin(file, handle);
      onOpen();
    }
  }

  async function mayReplace(id) {
    const { source, clips } = draft;
    if (!source || draft.id === id || clips.length === 0) {
      return true;
    }
    const kept =
      clips.length === 1 ? 'Its clip is kept in Drafts.' : `Its ${count(clips.length, 'clip')} are kept in Drafts.`;
    const waits = launch.state === 'waiting' ? ' The export that waits for its upload is cancelled.' : '';
    return confirmed(`Replace ${source.name}? ${kept}${waits}`, { yes: 'Replace' });
  }

  function openUri({ uri, name }) {
    uploads?.stop();
    draft.open({ name, uri, stored: true });
    uploads?.restore();
  }

  function openDraft(id) {
    uploads?.stop();
    draft.reopen(id);
    uploads?.restore();
  }

  async function close() {
    if (launch.state !== 'waiting' || (await mayReplace(null))) {
      uploads?.stop();
      draft.close();
    }
  }

  let shownId = draft.id;
  function show() {
    const isOpen = Boolean(draft.source);
    if (draft.id !== shownId) {
      shownId = draft.id;
      dismissToast();
    }
    (isOpen ? entrance.hide : entrance.show)();
    editor.element.hidden = !isOpen;
  }

  if (uploads) {
    acceptDrops(openFile);
  }
  draft.addEventListener('change', show);
  show();
  pruneRecords(drafts.list().map(({ id }) => id));
  uploads?.restore();
  launch.restore();
  editor.show();
  return { element, pause: editor.pause };
}
