// Sparks that run along paths of a drawing: what has changed at one end reaches the other.
import { eased, still } from "./tween.js";

const TIME = 500; // milliseconds
const SVG = "http://www.w3.org/2000/svg";

// `paths` are texts as an SVG path has them; the sparks lie on the drawing `svg` and go when they have arrived.
export function travel(svg, paths) {
  if (still() || !paths.length) return;
  const sparks = paths.map((text) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", text);
    const spark = document.createElementNS(SVG, "circle");
    spark.setAttribute("r", paths.length > 12 ? 3 : 5);
    spark.setAttribute("class", "spark");
    svg.append(spark);
    return { spark, path, length: path.getTotalLength() };
  });
  const start = performance.now();
  requestAnimationFrame(function step() {
    const t = Math.min(1, (performance.now() - start) / TIME);
    for (const { spark, path, length } of sparks) {
      const { x, y } = path.getPointAtLength(length * eased(t));
      spark.setAttribute("cx", x);
      spark.setAttribute("cy", y);
      if (t === 1) spark.remove();
    }
    if (t < 1) requestAnimationFrame(step);
  });
}
