'use strict';
// A click stops a film and starts it again; who wants no motion gets stills.
const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
for (const film of document.querySelectorAll('video')) {
  if (calm) film.pause();
  film.addEventListener('click', () => film.paused ? film.play() : film.pause());
}
