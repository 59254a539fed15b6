// Tabs with their panels, as WAI-ARIA describes them: one tab in the tab order, arrow keys go from tab to tab.

import { h, write } from './ui.js';

/** `pages` are `{id, name, element}`; returns `name(id, text)` to change a tab's text, and `open(id)`. */
export function createTabs(label, pages) {
  const tabs = pages.map(({ id, name }) =>
    h(
      'button',
      {
        type: 'button',
        role: 'tab',
        id: `tab-${id}`,
        'aria-controls': `page-${id}`,
        onclick: () => open(id),
      },
      name,
    ),
  );
  const panels = pages.map(({ id, element }) =>
    h(
      'div',
      { class: 'page', role: 'tabpanel', id: `page-${id}`, 'aria-labelledby': `tab-${id}`, hidden: true },
      element,
    ),
  );
  const list = h('div', { class: 'tabs', role: 'tablist', 'aria-label': label, onkeydown: walk }, tabs);

  /** On a phone the panel is a sheet: another press of its open tab makes it low. */
  function open(id) {
    const wasOpen = tabs.some((tab) => tab.id === `tab-${id}` && tab.getAttribute('aria-selected') === 'true');
    list.parentElement?.classList.toggle('low', wasOpen && !list.parentElement.classList.contains('low'));
    pages.forEach((page, index) => {
      const isOpen = page.id === id;
      tabs[index].setAttribute('aria-selected', String(isOpen));
      tabs[index].tabIndex = isOpen ? 0 : -1;
      panels[index].hidden = !isOpen;
    });
  }

  function walk(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      const index = (tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length;
      event.preventDefault();
      open(pages[index].id);
      tabs[index].focus();
    }
  }

  const name = (id, text) => write(tabs[pages.findIndex((page) => page.id === id)], text);
  open(pages[0].id);
  return { elements: [list, ...panels], open, name };
}
