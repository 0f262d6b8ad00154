// Answers the questions that peers/programs.py describes, by the npm packages hashring and
// memcached. Usage: hashring.js hashring|memcached [DEFAULT_PORT]
'use strict'

const [, , library, port] = process.argv

function ringOf (servers) {
  const options = port ? { 'default port': Number(port) } : {}
  if (library === 'hashring') return new (require('hashring'))(servers, 'md5', options)
  return new (require('memcached'))(servers, options).HashRing
}

const paragraphs = require('fs').readFileSync(0, 'utf8').split('\n\n').slice(0, -1)
for (let at = 0; at < paragraphs.length; at += 2) {
  const servers = {}
  const places = {}
  paragraphs[at].split('\n').forEach((line, place) => {
    const [host, port, weight] = line.split('\t')
    const address = `${host.includes(':') ? `[${host}]` : host}:${port}`
    servers[address] = Number(weight)
    places[address] = place
  })
  const ring = ringOf(servers)
  const found = paragraphs[at + 1].split('\n').map(key => places[ring.get(key)])
  process.stdout.write(found.join('\n') + '\n')
}
