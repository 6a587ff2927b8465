'use strict';

// Calls the running service as its clients do, posts included: node smoke.js

const base = 'http://127.0.0.1:8000';

async function expect(status, path, options) {
  const response = await fetch(base + path, options);
  await response.text();
  if (response.status !== status) throw new Error(`${path}: ${response.status}, not ${status}`);
}

async function main() {
  const json = { 'Content-Type': 'application/json' };
  const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
  await expect(200, '/');
  await expect(200, '/page');
  await expect(200, '/search?q=slim');
  await expect(200, '/lazy');
  await expect(200, '/static/background.png');
  await expect(201, '/echo', { method: 'POST', headers: json, body: '{"a":1}' });
  await expect(201, '/echo', { method: 'POST', headers: form, body: 'name=Ada' });
  await expect(400, '/echo', { method: 'POST', headers: json, body: '{' });
  await expect(404, '/static/nowhere.css');
  console.log('smoke: all as expected');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
