// Numbers as text, and round numbers for axes.

export const minus = (text) => text.replace("-", "−");

export function number(x, digits = 3, smallest = 1e-4) {
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  const size = Math.abs(x);
  if (size !== 0 && (size < smallest || size >= 1e6)) {
    const text = x.toExponential(digits - 1).replace("e-", "e−");
    return minus(text.replace("e+", "e"));
  }
  return minus(String(Number(x.toPrecision(digits))));
}

export const hex = (n, width) => n.toString(16).padStart(width, "0");

// Round numbers that cut an axis into at most n parts.
export function ticks(low, high, n) {
  const rough = (high - low) / n;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high && found.length < 100; i++) found.push(i * step || 0); // never −0
  return found;
}

// Ticks of a logarithmic axis: powers of ten, and 2 and 5 between them where there are few; round steps within a power.
export function logTicks(low, high) {
  if (high - low < 0.5) return ticks(10 ** low, 10 ** high, 5);
  const found = [];
  const digits = high - low < 1.6 ? [1, 2, 5] : [1];
  for (let power = Math.floor(low); power <= high; power++) {
    for (const digit of digits) {
      const at = Math.log10(digit) + power;
      if (at >= low && at <= high) found.push(digit * 10 ** power);
    }
  }
  const every = Math.ceil(found.length / 5);
  return found.filter((_, i) => i % every === 0);
}
