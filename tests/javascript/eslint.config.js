// Run from the root of the repository: npx eslint --config tests/javascript/eslint.config.js FILES
import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: ["**/node_modules/"] },
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2023, sourceType: "module", globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      curly: ["error", "multi-line"],
      eqeqeq: "error",
      "max-lines": ["error", { max: 600 }],
      "max-lines-per-function": ["error", { max: 60, skipComments: true }],
      "no-shadow": "error",
      "no-unused-expressions": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
      "prefer-template": "error",
    },
  },
  { files: ["tests/javascript/**"], languageOptions: { globals: globals.node } },
  // an explorer's picture may bind its parts in one function: its pieces share what is pointed at
];
