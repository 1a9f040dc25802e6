-- A POST for wrk: after `--` come a file of header lines and a file with the body. Prints one JSON object at the end.

function init(args)
   wrk.method = "POST"
   for line in io.lines(args[1]) do
      local name, value = line:match("^([^:]+): (.*)$")
      wrk.headers[name] = value
   end
   local file = assert(io.open(args[2], "rb"))
   wrk.body = file:read("*a")
   file:close()
end

function done(summary, latency, requests)
   local failed = summary.errors
   io.write(string.format(
      '{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      failed.connect, failed.read, failed.write, failed.status, failed.timeout))
end
