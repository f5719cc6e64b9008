// Messages to the kernel, one at a time and the latest next: a hand is faster than Python.

const PATIENCE = 5000; // milliseconds: a kernel that has not answered by then is busy with something else, or gone

// `ask(message, about)` sends, or waits for the answer to what was sent before; of several that wait and are about the same
// thing, only the latest is sent.
// Each message carries a mark of its own, `ask`; `answered(mark)` tells that Python has done what it says. `rested` is
// called when all is answered.
export function asker(send, { rested = () => {}, patience = PATIENCE } = {}) {
  const name = Math.random().toString(36).slice(2); // other views of the same picture hear the answers, too
  let number = 0;
  let timer = null; // of the message that is on its way
  const next = new Map(); // what waits, by what it is about

  function settle() {
    clearTimeout(timer);
    timer = null;
    const [first] = next;
    if (first) go(first[1], first[0]);
    else rested();
  }
  function go(message, about) {
    next.delete(about);
    number += 1;
    timer = setTimeout(settle, patience);
    send({ ...message, ask: `${name}-${number}` });
  }
  return {
    ask(message, about = "") {
      if (timer === null) go(message, about);
      else next.set(about, message);
    },
    answered(which) {
      if (timer !== null && which === `${name}-${number}`) settle();
    },
  };
}

// What hands ask of Python: `order(message, then)`; `then` is called once Python has done all that was asked. Where one
// event moves several things, `thing` says which.
export function orders(send) {
  const settled = new Set();
  const { ask, answered } = asker(send, {
    rested() {
      const acts = [...settled];
      settled.clear();
      for (const act of acts) act();
    },
  });
  return {
    answered,
    order(message, then, thing = "") {
      if (then) settled.add(then);
      ask(message, `${message.event} ${message.control ?? ""} ${thing}`);
    },
  };
}
