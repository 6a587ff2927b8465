# frozen_string_literal: true

require 'openssl'
require 'zlib'

module Features
  # Digests of a text.
  class Digest
    def of(text)
      { sha256: OpenSSL::Digest.hexdigest('SHA256', text), crc32: Zlib.crc32(text) }
    end
  end
end
