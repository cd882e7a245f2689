// What the engine calls in its worker; linked into the module.
addToLibrary({
  sipp_web_progress: (done) => (Module["sippProgress"] ? Module["sippProgress"](done) : 1),
});
