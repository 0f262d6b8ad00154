%%% ketama.erl - which memcached server a key belongs to, as libketama says it
%%%
%%%     {ok, _} = ketama:start_link("/etc/ketama.servers"),
%%%     {ok, <<"10.0.1.1:11211">>} = ketama:getserver(<<"user:42">>).
%%%
%%% One gen_server, registered as `ketama', owns the driver ketama_port, a program that
%%% follows the server file: a change is taken up without a restart, and while the file is
%%% wrong or missing the last good one counts (the driver says so on stderr).
%%%
%%% Put it under a supervisor. Where the driver dies or hangs, all who wait get an error,
%%% the server stops with the same reason, and a new one has a new driver (and needs a good
%%% server file to start with):
%%%     #{id => ketama, start => {ketama, start_link, ["/etc/ketama.servers"]}}
-module(ketama).
-behaviour(gen_server).

-export([start_link/0, start_link/1, start_link/2, getserver/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).
-export_type([key/0, reason/0, status/0]).

-define(DEFAULT_FILE, "/etc/ketama.servers").
-define(KEY_MAX, 254). % a length byte of 255 would end the driver
-define(PATIENCE, 5000). % milliseconds of silence, after which the driver counts as hanging
-define(GRACE, 200). % and so many more, for answers that are here and not yet read

-type key() :: unicode:chardata() | iodata().
%% An exit status, 128 + N after signal N; `epipe' where the VM met the closed pipe before
%% it heard of a status; for a start, also why the program can't be run, such as `enoent'.
-type status() :: non_neg_integer() | atom().
-type reason() ::
    not_running                                   % no server under this name just now
    | bad_key                                     % neither iodata nor a string
    | {key_too_long, Bytes :: pos_integer()}      % over 254
    | {driver_exited, status()}
    | {no_answer, Milliseconds :: pos_integer()}
    | {driver_failed, unexpected_answer}          % one too many, or an empty one
    | term().                                     % what else the server was stopped with
-type start() ::
    {ok, pid()}
    | {error, {already_started, pid()}
            | {driver_failed, status()}           % 1: the file is wrong; stderr says how
            | {no_answer, Milliseconds :: pos_integer()}}.

-record(state, {
    port :: port(),
    sent = queue:new() :: queue:queue(gen_server:from()), % answers come in this order
    unsent = queue:new() :: queue:queue({gen_server:from(), binary()}),
    heard = 0 :: integer(), % when the driver last was not in debt, or answered
    timer = none :: none | reference(),
    warned = false :: boolean() % the patience is over, the grace is not
}).

%% Starts the server for /etc/ketama.servers. Returns when the driver has answered once.
-spec start_link() -> start().
start_link() ->
    start_link(?DEFAULT_FILE).

%% The same for another file. The driver is ketama_port in the folder `priv' of the
%% application `ketama', else of that which this module is in, else beside this module's
%% beam file, else in PATH.
-spec start_link(file:filename_all()) -> start().
start_link(File) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, {File, default}, []).

%% The same with the driver at that path.
-spec start_link(file:filename_all(), file:filename_all()) -> start().
start_link(File, Driver) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, {File, Driver}, []).

%% Returns the address of the server that the key belongs to, as it stands in the file.
%% The key is at most 254 bytes: iodata as it is, and what is none because it has code
%% points above 255, in UTF-8. So "\x{fc}" is the one byte 252: other languages' clients,
%% whose text is UTF-8, mean <<"\x{fc}"/utf8>>. Does not exit, whatever becomes of the
%% server, and waits as long as the driver goes on answering those who asked before.
-spec getserver(key()) -> {ok, Server :: binary()} | {error, reason()}.
getserver(Key) ->
    case to_bytes(Key) of
        bad_key -> {error, bad_key};
        Bytes when byte_size(Bytes) > ?KEY_MAX -> {error, {key_too_long, byte_size(Bytes)}};
        Bytes -> ask(Bytes)
    end.

-spec to_bytes(term()) -> binary() | bad_key.
to_bytes(Key) ->
    try iolist_to_binary(Key)
    catch
        error:badarg ->
            try unicode:characters_to_binary(Key) of
                Bytes when is_binary(Bytes) -> Bytes;
                _ -> bad_key
            catch
                error:badarg -> bad_key
            end
    end.

%% The server has the clock, not the caller: an answer that comes late has nowhere to go.
-spec ask(binary()) -> {ok, binary()} | {error, reason()}.
ask(Bytes) ->
    try gen_server:call(?MODULE, {getserver, Bytes}, infinity)
    catch
        exit:{noproc, _} -> {error, not_running};
        exit:{Reason, {gen_server, call, _}} -> {error, Reason}
    end.

%% gen_server

-spec init({file:filename_all(), file:filename_all() | default}) ->
    {ok, #state{}} | {stop, term()}.
init({File, default}) ->
    case find_driver() of
        none -> {stop, {driver_failed, enoent}};
        Driver -> init({File, Driver})
    end;
init({File, Driver}) ->
    process_flag(trap_exit, true), % so that terminate/2 is called
    Options = [{packet, 1}, {args, [File]}, binary, exit_status, use_stdio],
    try open_port({spawn_executable, Driver}, Options) of
        Port -> probe(Port)
    catch
        error:Reason -> {stop, {driver_failed, Reason}}
    end.

%% The empty key is a key like others, and the shortest.
-spec probe(port()) -> {ok, #state{}} | {stop, term()}.
probe(Port) ->
    _ = send(Port, <<>>),
    receive
        {Port, {data, _}} -> {ok, #state{port = Port}};
        {Port, {exit_status, Status}} -> {stop, {driver_failed, Status}};
        {'EXIT', Port, Reason} -> {stop, {driver_failed, Reason}}
    after ?PATIENCE ->
        kill(Port),
        {stop, {no_answer, ?PATIENCE}}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {noreply, #state{}} | {reply, {error, unknown_call}, #state{}}.
handle_call({getserver, Bytes}, From, State) ->
    {noreply, send_all(queue_up({From, Bytes}, State))};
handle_call(_, _, State) ->
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, reason(), #state{}}.
handle_info({Port, {data, Server}}, #state{port = Port} = State) ->
    case queue:out(State#state.sent) of
        {{value, From}, Sent} when Server =/= <<>> ->
            gen_server:reply(From, {ok, Server}),
            {noreply, send_all(State#state{sent = Sent, heard = now_ms(), warned = false})};
        _ ->
            kill(Port),
            fail({driver_failed, unexpected_answer}, State)
    end;
handle_info({Port, {exit_status, Status}}, #state{port = Port} = State) ->
    fail({driver_exited, Status}, State);
handle_info({'EXIT', Port, Reason}, #state{port = Port} = State) ->
    fail({driver_exited, Reason}, State);
handle_info({timeout, Timer, patience}, #state{timer = Timer} = State) ->
    Left = State#state.heard + ?PATIENCE - now_ms(),
    case in_debt(State) of
        true when Left > 0 ->
            {noreply, send_all(State#state{timer = start_timer(Left)})};
        true when not State#state.warned -> % a VM that was paused has answers to read
            {noreply, State#state{timer = start_timer(?GRACE), warned = true}};
        true ->
            kill(State#state.port),
            fail({no_answer, ?PATIENCE}, State);
        false ->
            {noreply, State#state{timer = none}}
    end;
handle_info(_, State) ->
    {noreply, State}.

%% The driver ends when its stdin is closed. One that owes answers may be unable to.
-spec terminate(term(), #state{}) -> ok.
terminate(_, #state{port = Port} = State) ->
    in_debt(State) andalso kill(Port),
    catch port_close(Port), % it may be closed already
    ok.

-spec code_change(term(), #state{}, term()) -> {ok, #state{}}.
code_change(_, State, _) ->
    {ok, State}.

%% The queues

%% One timer runs while the driver is in debt, and looks at `heard' when it is over: that
%% is cheaper than a new one for each answer.
-spec queue_up({gen_server:from(), binary()}, #state{}) -> #state{}.
queue_up(Request, #state{unsent = Unsent, timer = Timer} = State) ->
    Heard = case in_debt(State) of
        true -> State#state.heard;
        false -> now_ms()
    end,
    State#state{
        unsent = queue:in(Request, Unsent),
        heard = Heard,
        timer = case Timer of none -> start_timer(?PATIENCE); _ -> Timer end
    }.

%% Sends as much as the port takes now; the rest goes when answers have made room.
-spec send_all(#state{}) -> #state{}.
send_all(#state{port = Port, sent = Sent, unsent = Unsent} = State) ->
    case queue:peek(Unsent) of
        {value, {From, Bytes}} ->
            case send(Port, Bytes) of
                true ->
                    Rest = queue:drop(Unsent),
                    send_all(State#state{sent = queue:in(From, Sent), unsent = Rest});
                false ->
                    State
            end;
        empty ->
            State
    end.

%% A driver that hangs would, without nosuspend, sooner or later make this process hang
%% too. A port that is closed is no error here: a message that says why is on its way.
-spec send(port(), binary()) -> boolean().
send(Port, Bytes) ->
    try port_command(Port, Bytes, [nosuspend])
    catch
        error:badarg -> true
    end.

-spec fail(reason(), #state{}) -> {stop, reason(), #state{}}.
fail(Reason, #state{sent = Sent, unsent = Unsent} = State) ->
    Waiting = queue:to_list(Sent) ++ [From || {From, _} <- queue:to_list(Unsent)],
    lists:foreach(fun(From) -> gen_server:reply(From, {error, Reason}) end, Waiting),
    {stop, Reason, State#state{sent = queue:new(), unsent = queue:new()}}.

-spec in_debt(#state{}) -> boolean().
in_debt(#state{sent = Sent, unsent = Unsent}) ->
    not (queue:is_empty(Sent) andalso queue:is_empty(Unsent)).

-spec now_ms() -> integer().
now_ms() ->
    erlang:monotonic_time(millisecond).

-spec start_timer(pos_integer()) -> reference().
start_timer(Milliseconds) ->
    erlang:start_timer(Milliseconds, self(), patience).

%% The driver

%% Closing stdin means nothing to a process that is stopped or stuck. Where the VM knows
%% already that it has ended, there is no id any more that could have become another's.
-spec kill(port()) -> ok.
kill(Port) ->
    case erlang:port_info(Port, os_pid) of
        {os_pid, Pid} -> _ = os:cmd("kill -KILL " ++ integer_to_list(Pid)), ok;
        undefined -> ok
    end.

-spec find_driver() -> file:filename() | none.
find_driver() ->
    Name = "ketama_port",
    Priv = [Dir || Dir <- [code:priv_dir(?MODULE)], is_list(Dir)],
    Beam = [filename:dirname(File) || File <- [code:which(?MODULE)], is_list(File), File =/= []],
    Ours = [filename:join([Dir, "..", "priv"]) || Dir <- Beam], % of whatever application
    Paths = [filename:join(Dir, Name) || Dir <- Priv ++ Ours ++ Beam],
    case lists:filter(fun filelib:is_regular/1, Paths) ++ [os:find_executable(Name)] of
        [false] -> none;
        [Found | _] -> Found
    end.
