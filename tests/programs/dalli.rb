# frozen_string_literal: true

# Answers the questions that peers/programs.py describes, by dalli's ring.
require 'dalli'

def server_text(line)
  host, port, weight = line.split("\t")
  return "#{host}:#{weight}" if host.start_with?('/')

  host = "[#{host}]" if host.include?(':')
  "#{host}:#{port}:#{weight}"
end

$stdin.set_encoding('UTF-8')
until $stdin.eof?
  servers, keys = Array.new(2) { $stdin.gets("\n\n", chomp: true).split("\n") }
  ring = Dalli::Client.new(servers.map { |line| server_text(line) }).send(:ring)
  # Else it connects to the servers, and asks for another one if it cannot.
  ring.servers.each { |server| server.define_singleton_method(:alive?) { true } }
  places = ring.servers.each_with_index.to_h { |server, place| [server.object_id, place] }
  keys.each { |key| puts places.fetch(ring.server_from_continuum(key).object_id) }
end
