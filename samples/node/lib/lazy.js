'use strict';

const fs = require('fs');
const path = require('path');
const { marked } = require('marked');

exports.article = () => marked.parse(fs.readFileSync(path.join(__dirname, 'article.md'), 'utf8'));
