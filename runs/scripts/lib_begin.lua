-- For scripts that begin something: refused whole when Redis is full, whatever they write first.
-- This changes nothing: there is no such key.
redis.call('ZADD', 'ms:nothing', 'XX', 0, '')
