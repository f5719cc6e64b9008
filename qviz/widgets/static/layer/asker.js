// Messages to the kernel, one at a time and the latest next: a hand is faster than Python.

const PATIENCE = 5000; // milliseconds: a kernel that has not answered by then is busy with something else, or gone

// `ask(message)` sends, or waits for the answer to what was sent before; of several about the same thing that wait, only
// the latest is sent. `about(message)` names the thing: all are about one unless given.
// Each message carries a mark of its own, `ask`; `answered(mark)` tells that Python has done what it says. `rested` is
// called when all is answered.
export function asker(send, { rested = () => {}, patience = PATIENCE, about = () => "" } = {}) {
  const name = Math.random().toString(36).slice(2); // other views of the same picture hear the answers, too
  let number = 0;
  let timer = null; // of the message that is on its way
  const next = new Map(); // what waits, by what it is about

  function settle() {
    clearTimeout(timer);
    timer = null;
    const [first] = next.values();
    if (first) go(first);
    else rested();
  }
  function go(message) {
    next.delete(about(message));
    number += 1;
    timer = setTimeout(settle, patience);
    send({ ...message, ask: `${name}-${number}` });
  }
  return {
    ask(message) {
      if (timer === null) go(message);
      else next.set(about(message), message);
    },
    answered(which) {
      if (timer !== null && which === `${name}-${number}`) settle();
    },
  };
}

// What hands ask of Python: `order(message, then)`; `then` is called once Python has done all that was asked.
export function orders(send) {
  const settled = new Set();
  const { ask, answered } = asker(send, {
    about: ({ event, control = "" }) => `${event} ${control}`,
    rested() {
      const acts = [...settled];
      settled.clear();
      for (const act of acts) act();
    },
  });
  return {
    answered,
    order(message, then) {
      if (then) settled.add(then);
      ask(message);
    },
  };
}
