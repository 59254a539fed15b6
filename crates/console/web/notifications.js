// A notification when an export has ended and nobody looks at the page. Asked for by a button, never by itself.

import { button, write } from './ui.js';

export function createNotifications() {
  const supported = 'Notification' in window;

  /** Whether the browser may still ask its user. */
  const askable = () => supported && Notification.permission === 'default';

  function createButton() {
    const ask = button('bell', 'Notify me', async () => {
      const answer = await Notification.requestPermission();
      write(ask.querySelector('span'), answer === 'granted' ? 'You will be notified' : 'Notifications are blocked');
      ask.disabled = true;
    }, { quiet: false, hidden: true, title: 'When the export is done and this page is not in view' });
    return ask;
  }

  /** Shows that a batch ended; a click leads to it. */
  function show(title, body, hash) {
    if (!supported || Notification.permission !== 'granted' || document.visibilityState === 'visible') {
      return;
    }
    const notification = new Notification(title, { body, icon: 'icon.svg', tag: hash });
    notification.onclick = () => {
      window.focus();
      location.hash = hash;
      notification.close();
    };
  }
  return { get askable() { return askable(); }, button: createButton, show };
}
